"""Offline training: data, losses, loop, evaluation, export, reports."""
