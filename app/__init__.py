"""Verbatim: a self-hosted document API for people and their conversations with language models."""

__version__ = "0.1.0"
