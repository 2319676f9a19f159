"""Reasons for error messages, from exceptions of any library."""

from eetool_runtime.argument_checks import short_reason as error_reason

__all__ = ["error_reason"]
