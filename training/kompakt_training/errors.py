"""What can go wrong in training, each in one line that says what to do."""


class TrainingError(Exception):
    """Training cannot start or go on: data, settings, or what stands in the run's folder."""
