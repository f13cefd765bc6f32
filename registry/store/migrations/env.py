"""Run by Alembic for every migration, on the connection and in the transaction that `migrating` hands it."""

from __future__ import annotations

from alembic import context

from registry.store.place import REVISION_TABLE

if __name__ == "env_py":  # Alembic's own name for this file; under any other it is only looked at
    context.configure(
        connection=context.config.attributes["connection"],
        version_table=REVISION_TABLE,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()
