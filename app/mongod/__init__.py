"""The embedded MongoDB: one supervised mongod per data folder, shared by every process that uses the folder.

A process that uses the database holds a shared lock on `users.lock` and sees to it that a keeper runs. The keeper holds
`keeper.lock`, runs mongod, starts it again after a crash and stops it when the last user has left. The kernel drops a
lock when its holder dies, however it dies, so no crash leaves a mongod without users or, for longer than a restart
takes, users without a mongod. A user that finds the keeper gone starts another one.

The data folder: `db/` (MongoDB's files), `mongod.log`, `mongod.out` (what the newest mongod printed), `keeper.log`,
`keeper.json` (what the keeper last said), `users.lock`, `keeper.lock`, `mongod.sock`.
"""

from app.mongod.binary import find_mongod
from app.mongod.embedded import EmbeddedMongod
from app.mongod.failures import MongodUnavailable

__all__ = ["EmbeddedMongod", "MongodUnavailable", "find_mongod"]
