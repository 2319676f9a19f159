"""One thin file per verb of the command line, imported when the verb is used.

May import everything; libraries that are slow to load are imported inside the functions.
Entry points: `command` of each file, which `eetool.cli.app` loads by the file's name.
"""
