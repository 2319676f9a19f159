"""Python API: the functions behind the names of `import eetool`, which the commands call as well.

May import every package but `eetool.cli`; heavy ones inside functions, so that a name costs nothing until it is called.
Entry points: those of `eetool.__all__`.
"""
