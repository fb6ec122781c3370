"""What takes minutes: every promise on all test digits. ``make test-full`` runs it."""
