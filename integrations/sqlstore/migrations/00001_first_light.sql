-- Read by SQLite and PostgreSQL alike; points in time are microseconds since 1970 UTC, 0 is "never".

-- +goose Up

CREATE TABLE tenant (
    id          TEXT   NOT NULL PRIMARY KEY,
    description TEXT   NOT NULL, -- JSON of backup.Tenant; references to secrets, never secrets
    saved       BIGINT NOT NULL
);

-- Numbers that count from 1 without gaps: runs, alerts.
CREATE TABLE numbering (
    tenant TEXT   NOT NULL,
    series TEXT   NOT NULL,
    last   BIGINT NOT NULL,
    PRIMARY KEY (tenant, series)
);

-- A connector that is not pinned any more keeps its row, so that its sessions go on counting should it come back.
CREATE TABLE connector (
    tenant    TEXT    NOT NULL REFERENCES tenant (id),
    name      TEXT    NOT NULL,
    identity  TEXT    NOT NULL,
    pinned    BOOLEAN NOT NULL,
    connected BOOLEAN NOT NULL,
    last_seen BIGINT  NOT NULL,
    session   BIGINT  NOT NULL,
    enrolled  BOOLEAN NOT NULL, -- pinned by an enrolment and not by the tenant's description
    recipient BYTEA,            -- what it said of itself when it connected
    holds     TEXT    NOT NULL, -- JSON of []backup.HeldKey
    PRIMARY KEY (tenant, name)
);

-- Only the SHA-256 of an enrolment's secret is here.
CREATE TABLE enrolment (
    tenant      TEXT   NOT NULL REFERENCES tenant (id),
    connector   TEXT   NOT NULL,
    secret_hash BYTEA  NOT NULL UNIQUE,
    expires     BIGINT NOT NULL,
    presented   BIGINT NOT NULL,
    identity    TEXT   NOT NULL, -- what the connector showed with the secret
    recipient   BYTEA,
    PRIMARY KEY (tenant, connector)
);

-- A row per generation of a tenant's ekey: everything but the key.
CREATE TABLE ekey (
    tenant       TEXT   NOT NULL REFERENCES tenant (id),
    generation   BIGINT NOT NULL,
    method       TEXT   NOT NULL,
    state        TEXT   NOT NULL,
    check_key    TEXT   NOT NULL,
    wrapped      TEXT   NOT NULL, -- as the KMS encrypted it; empty for connectors and once it has ended
    created      BIGINT NOT NULL,
    activated    BIGINT NOT NULL,
    retire_after BIGINT NOT NULL,
    ended        BIGINT NOT NULL,
    PRIMARY KEY (tenant, generation)
);
CREATE UNIQUE INDEX ekey_active ON ekey (tenant) WHERE state = 'active';
CREATE UNIQUE INDEX ekey_pending ON ekey (tenant) WHERE state = 'pending';

-- The last loss drill of each tenant.
CREATE TABLE key_drill (
    tenant TEXT   NOT NULL PRIMARY KEY REFERENCES tenant (id),
    at     BIGINT NOT NULL,
    body   TEXT   NOT NULL -- JSON of backup.KeyDrill
);

-- A row per shredding, known by when it was asked for.
CREATE TABLE key_shred (
    tenant    TEXT   NOT NULL REFERENCES tenant (id),
    requested BIGINT NOT NULL,
    body      TEXT   NOT NULL, -- JSON of backup.ShredReport, signature included
    PRIMARY KEY (tenant, requested)
);

CREATE TABLE key_request (
    id        TEXT   NOT NULL PRIMARY KEY,
    tenant    TEXT   NOT NULL,
    holder    TEXT   NOT NULL, -- the one connector it is for; empty: any of the tenant's
    body      BYTEA  NOT NULL,
    created   BIGINT NOT NULL,
    expires   BIGINT NOT NULL,
    taken     BIGINT NOT NULL, -- when a connector took it last
    answered  BIGINT NOT NULL,
    answer_by TEXT   NOT NULL,
    answer    BYTEA
);
CREATE INDEX key_request_open ON key_request (tenant, created) WHERE answered = 0;
CREATE INDEX key_request_expiry ON key_request (expires);

-- Who was handed a request: none twice, and only they may answer it.
CREATE TABLE key_request_taker (
    request   TEXT NOT NULL REFERENCES key_request (id) ON DELETE CASCADE,
    connector TEXT NOT NULL,
    PRIMARY KEY (request, connector)
);

CREATE TABLE nonce (
    scope TEXT   NOT NULL,
    nonce TEXT   NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY (scope, nonce)
);
CREATE INDEX nonce_until ON nonce (until);

CREATE TABLE receipt (
    tenant      TEXT   NOT NULL,
    number      BIGINT NOT NULL,
    generation  BIGINT NOT NULL,
    method      TEXT   NOT NULL,
    purpose     TEXT   NOT NULL,
    workflow_id TEXT   NOT NULL,
    run_id      TEXT   NOT NULL,
    attempt     BIGINT NOT NULL,
    holder      TEXT   NOT NULL,
    requester   TEXT   NOT NULL,
    nonce       TEXT   NOT NULL,
    released    BIGINT NOT NULL,
    until       BIGINT NOT NULL,
    head        BYTEA, -- the signed head of the log that ends with this receipt, as internal/ledger wrote it
    PRIMARY KEY (tenant, number),
    UNIQUE (tenant, nonce)
);

-- The end of each tenant's log of receipts: how long it is, its newest head, and what the next append needs of the tree.
CREATE TABLE receipt_log (
    tenant TEXT   NOT NULL PRIMARY KEY,
    size   BIGINT NOT NULL,
    head   BYTEA,
    tree   BYTEA
);

-- Each directory has one staged listing at most; which one that is, and which one was applied last, stands here.
CREATE TABLE import_pass (
    tenant     TEXT   NOT NULL,
    directory  TEXT   NOT NULL,
    pass       TEXT   NOT NULL,
    counts     TEXT   NOT NULL, -- JSON of backup.ImportCounts once compared
    applied    TEXT   NOT NULL, -- the pass that was applied last
    applied_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, directory)
);

CREATE TABLE staged_entry (
    tenant       TEXT    NOT NULL,
    directory    TEXT    NOT NULL,
    entry_id     TEXT    NOT NULL,
    dn           TEXT    NOT NULL,
    mail         TEXT    NOT NULL,
    upn          TEXT    NOT NULL,
    display_name TEXT    NOT NULL,
    employee_id  TEXT    NOT NULL,
    department   TEXT    NOT NULL,
    disabled     BOOLEAN NOT NULL,
    problem      TEXT    NOT NULL,
    mail_key     TEXT    NOT NULL, -- the address in lower case: mail, else UPN
    upn_key      TEXT    NOT NULL, -- the UPN in lower case
    account_id   TEXT    NOT NULL, -- of the account, should the entry become one
    PRIMARY KEY (tenant, directory, entry_id)
);
CREATE INDEX staged_entry_mail ON staged_entry (tenant, directory, mail_key);

-- What the directory said last. An entry that vanished stays as long as it has an account; it is not present then.
CREATE TABLE directory_entry (
    tenant       TEXT    NOT NULL,
    directory    TEXT    NOT NULL,
    entry_id     TEXT    NOT NULL,
    dn           TEXT    NOT NULL,
    mail         TEXT    NOT NULL,
    upn          TEXT    NOT NULL,
    display_name TEXT    NOT NULL,
    employee_id  TEXT    NOT NULL,
    department   TEXT    NOT NULL,
    disabled     BOOLEAN NOT NULL,
    problem      TEXT    NOT NULL,
    present      BOOLEAN NOT NULL,
    PRIMARY KEY (tenant, directory, entry_id)
);
CREATE INDEX directory_entry_problem ON directory_entry (tenant, directory, entry_id) WHERE problem <> '';
CREATE INDEX directory_entry_absent ON directory_entry (tenant, directory, entry_id) WHERE NOT present;

-- Mail is not unique: a preserved person's address may be given to a new one.
CREATE TABLE account (
    tenant       TEXT   NOT NULL,
    id           TEXT   NOT NULL,
    directory    TEXT   NOT NULL,
    entry_id     TEXT   NOT NULL,
    mail         TEXT   NOT NULL,
    upn          TEXT   NOT NULL,
    display_name TEXT   NOT NULL,
    mail_key     TEXT   NOT NULL,
    upn_key      TEXT   NOT NULL,
    state        TEXT   NOT NULL,
    reason       TEXT   NOT NULL,
    since        BIGINT NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, directory, entry_id)
);
CREATE INDEX account_mail ON account (tenant, mail_key, id);
CREATE INDEX account_upn ON account (tenant, upn_key);

CREATE TABLE run (
    tenant      TEXT   NOT NULL,
    number      BIGINT NOT NULL,
    app         TEXT   NOT NULL,
    workflow_id TEXT   NOT NULL,
    run_id      TEXT   NOT NULL,
    started     BIGINT NOT NULL,
    ended       BIGINT NOT NULL,
    outcome     TEXT   NOT NULL,
    code        TEXT   NOT NULL,
    detail      TEXT   NOT NULL,
    shards      BIGINT NOT NULL,
    parts       BIGINT NOT NULL,
    done        BIGINT NOT NULL,
    failed      BIGINT NOT NULL,
    no_service  BIGINT NOT NULL,
    listed      BIGINT NOT NULL,
    stored      BIGINT NOT NULL,
    unchanged   BIGINT NOT NULL,
    skipped     BIGINT NOT NULL,
    gone        BIGINT NOT NULL,
    dropped     BIGINT NOT NULL,
    bytes       BIGINT NOT NULL,
    api_calls   BIGINT NOT NULL,
    resyncs     BIGINT NOT NULL,
    items       BIGINT NOT NULL,
    PRIMARY KEY (tenant, number),
    UNIQUE (tenant, run_id)
);

CREATE TABLE run_part (
    tenant    TEXT   NOT NULL,
    number    BIGINT NOT NULL,
    account   TEXT   NOT NULL,
    service   TEXT   NOT NULL,
    position  BIGINT NOT NULL, -- of the account in order of mail, from 0, when the run started
    shard     BIGINT NOT NULL,
    state     TEXT   NOT NULL,
    code      TEXT   NOT NULL DEFAULT '',
    detail    TEXT   NOT NULL DEFAULT '',
    snapshot  TEXT   NOT NULL DEFAULT '',
    listed    BIGINT NOT NULL DEFAULT 0,
    stored    BIGINT NOT NULL DEFAULT 0,
    unchanged BIGINT NOT NULL DEFAULT 0,
    skipped   BIGINT NOT NULL DEFAULT 0,
    gone      BIGINT NOT NULL DEFAULT 0,
    dropped   BIGINT NOT NULL DEFAULT 0,
    bytes     BIGINT NOT NULL DEFAULT 0,
    api_calls BIGINT NOT NULL DEFAULT 0,
    resyncs   BIGINT NOT NULL DEFAULT 0,
    items     BIGINT NOT NULL DEFAULT 0,
    skips     TEXT   NOT NULL DEFAULT '', -- JSON: skipped items by reason
    PRIMARY KEY (tenant, number, account, service),
    FOREIGN KEY (tenant, number) REFERENCES run (tenant, number),
    FOREIGN KEY (tenant, account) REFERENCES account (tenant, id)
);
CREATE INDEX run_part_shard ON run_part (tenant, number, shard, position);

CREATE TABLE alert (
    id       BIGINT NOT NULL PRIMARY KEY,
    tenant   TEXT   NOT NULL,
    kind     TEXT   NOT NULL,
    subject  TEXT   NOT NULL,
    message  TEXT   NOT NULL,
    hint     TEXT   NOT NULL,
    times    BIGINT NOT NULL,
    raised   BIGINT NOT NULL,
    last     BIGINT NOT NULL,
    resolved BIGINT NOT NULL,
    muted    BIGINT NOT NULL -- until when nobody is told of it again
);
CREATE UNIQUE INDEX alert_open ON alert (tenant, kind, subject) WHERE resolved = 0;
CREATE INDEX alert_newest ON alert (tenant, raised, id);
