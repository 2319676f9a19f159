"""The command line: options, output and error messages.

May import everything; nothing imports it except `eetool.__main__`. click and rich are imported here only.
Entry point: `app.main`. One file per verb is in `commands`.
"""
