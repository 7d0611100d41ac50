"""Bellhub: a self-hosted, real-time notification hub."""

__version__ = "0.1.0"
