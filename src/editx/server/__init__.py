"""The HTTP API: routes by topic over one `Studio`."""
