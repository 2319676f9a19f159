"""Bundles behind servers of others: whole early-exit models that answer with class, exit and confidence.

`kserve` and `mlserver` each need the server's own package; `metrics` needs prometheus_client, which both bring. Nothing
here is imported by the rest of the runtime.
"""
