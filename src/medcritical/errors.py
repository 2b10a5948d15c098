"""Errors a user can cause or must be told of.

Every error below ends the program with exit code 2 and its message alone; ``MEDCRITICAL_DEBUG=1`` adds the traceback.
Anything else that escapes is a defect of this program and keeps its traceback.
"""


class MedCriticalError(Exception):
    """Root of the family. The message names what is wrong, where, and what to do."""

    exit_code = 2


class ConfigError(MedCriticalError, ValueError):
    """A configuration key, value or combination that is not allowed."""


class DataError(MedCriticalError, ValueError):
    """A data file or row that cannot be used. Row faults name file and record number."""


class ArtefactError(MedCriticalError, OSError):
    """The store cannot be read or written: a full disk, a read-only folder, a damaged artefact."""


class ModelError(MedCriticalError, ValueError):
    """A student or checkpoint that cannot be loaded as a causal language model."""


class GenerationError(MedCriticalError, RuntimeError):
    """An engine that cannot answer."""


class TrainingError(MedCriticalError, RuntimeError):
    """Training stopped because going on would waste the run: wrong reference, diverged loss, nothing to train on."""


class TrainingStopped(MedCriticalError):
    """A training that has saved its state because it was told to stop, or its time is up: the same command goes on.

    The exit code is EX_TEMPFAIL of sysexits.h: try again.
    """

    exit_code = 75
