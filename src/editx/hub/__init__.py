"""Fetches the published repositories from a model hub over HTTP."""
