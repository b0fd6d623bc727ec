"""The service behind ``retrieve serve``: collections and models over HTTP, for agents, and as a page.

Importing this package loads nothing; its modules need the extra ``serve``.
"""
