"""Command line of eetool; the only package that prints, reads options or imports click and rich.

It may import every other package, and no package imports it. `app` holds the command, `commands` one file per verb,
`output` the results on stdout and errors, `progress_bars` the progress on stderr.
"""
