"""Engines turn one step and a clip into sound. They know nothing of HTTP, processes or leases."""
