"""One self-contained HTML page from JSON documents of other commands and a bundle.

Data flow: `inputs` (documents), `operating_points` (rows of the comparison), charts and `sections` (contents), `page`
(HTML). It may import `eetool.bench`, `eetool.profile`, `eetool.latency` and `eetool.data`; Jinja2 and Vega are imported
on first use. Entry points: `inputs.read_report_inputs`, `page.render_page`, `chart_files.write_charts`.
"""
