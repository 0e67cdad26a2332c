"""Why there is no backup, or no restored database, always in one sentence that says what to do."""


class BackupFailed(Exception):
    """A backup or a restore that cannot be; the message is one sentence that says what to do."""


class DamagedBackup(BackupFailed):
    """The file is not what was written once; nothing of it may be used."""
