"""One module per verb of `eetool`, imported when the verb is used.

Each has options, a frozen request record that they fill, and a function from the request to a `CommandResult`. They may
import every package, inside functions where the import is slow. The entry point of each is `command`.
"""
