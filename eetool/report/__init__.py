"""Reports: one HTML page, and charts as SVG and PNG, from the documents of other commands.

May import bench, profile, search, latency and below; not cli.
Entry points: `inputs` for the documents, `page.render_page`, `chart_files.write_charts`.
"""
