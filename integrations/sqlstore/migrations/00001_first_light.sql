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

-- Each directory has one pass at most that is staged; which one that is, how far its read came, and what was applied last stands here.
CREATE TABLE import_pass (
    tenant      TEXT    NOT NULL,
    directory   TEXT    NOT NULL,
    pass        TEXT    NOT NULL,
    report      BIGINT  NOT NULL, -- its number
    open        BOOLEAN NOT NULL, -- neither applied nor ended
    known       BOOLEAN NOT NULL, -- the directory had entries when it began
    since       TEXT    NOT NULL, -- the cursor that the read began from
    resume      TEXT    NOT NULL, -- of the last page that was staged
    pages       BIGINT  NOT NULL,
    resumed     BIGINT  NOT NULL,
    complete    BOOLEAN NOT NULL, -- the read ended
    mode        TEXT    NOT NULL,
    next_cursor TEXT    NOT NULL,
    cursor      TEXT    NOT NULL, -- of the pass that was applied last
    applied     TEXT    NOT NULL, -- which one that was; empty: none was ever
    behind      BIGINT  NOT NULL, -- how many active accounts the directory stands behind
    attempt     BIGINT  NOT NULL, -- who may stage
    rules       TEXT    NOT NULL, -- digest of those by which it becomes accounts
    ruled       TEXT    NOT NULL, -- the rules of the pass that was applied last
    planned     TEXT    NOT NULL, -- JSON of what import_touched and its kin were worked out of; empty: of what is not so any more
    PRIMARY KEY (tenant, directory)
);

CREATE TABLE import_report (
    tenant    TEXT    NOT NULL,
    number    BIGINT  NOT NULL,
    directory TEXT    NOT NULL,
    outcome   TEXT    NOT NULL,
    body      TEXT    NOT NULL, -- JSON of backup.ImportReport
    derived   BOOLEAN NOT NULL, -- its plain additions are so many that they have no rows in import_change
    PRIMARY KEY (tenant, number)
);
CREATE INDEX import_report_directory ON import_report (tenant, directory, number);

CREATE TABLE import_change (
    tenant TEXT   NOT NULL,
    number BIGINT NOT NULL,
    place  BIGINT NOT NULL,
    body   TEXT   NOT NULL, -- JSON of backup.ImportChange
    PRIMARY KEY (tenant, number, place)
);

-- What a read has said so far. Kinds: new and changed entries come with all that is known of them; the same, back (as it was, after it
-- had been gone) and gone are narrow. Of those that are the same, disabled and own are what is known (the problem that was found).
CREATE TABLE staged_entry (
    tenant       TEXT    NOT NULL,
    directory    TEXT    NOT NULL,
    entry_id     TEXT    NOT NULL,
    kind         TEXT    NOT NULL,
    disabled     BOOLEAN NOT NULL,
    own          TEXT    NOT NULL, -- the problem that the entry has by itself
    hash         TEXT    NOT NULL DEFAULT '', -- of all that the directory says of it
    dn           TEXT    NOT NULL DEFAULT '',
    mail         TEXT    NOT NULL DEFAULT '',
    upn          TEXT    NOT NULL DEFAULT '',
    display_name TEXT    NOT NULL DEFAULT '',
    employee_id  TEXT    NOT NULL DEFAULT '',
    department   TEXT    NOT NULL DEFAULT '',
    entry_kind   TEXT    NOT NULL DEFAULT '',
    more         TEXT    NOT NULL DEFAULT '', -- JSON: aliases, groups, attributes; mostly empty
    profile      TEXT    NOT NULL DEFAULT '',
    mail_key     TEXT    NOT NULL DEFAULT '', -- the address in lower case: mail, else UPN
    upn_key      TEXT    NOT NULL DEFAULT '', -- the UPN in lower case, if it is not mail_key
    employee_key TEXT    NOT NULL DEFAULT '', -- the employee's number in lower case
    account_id   TEXT    NOT NULL DEFAULT '', -- of the account that the entry makes, if it makes one
    PRIMARY KEY (tenant, directory, entry_id)
);

CREATE TABLE staged_alias (
    tenant    TEXT NOT NULL,
    directory TEXT NOT NULL,
    entry_id  TEXT NOT NULL,
    alias_key TEXT NOT NULL, -- in lower case
    hash      TEXT NOT NULL, -- of the version of the entry that has it
    PRIMARY KEY (tenant, directory, entry_id, alias_key)
);

-- What the directory said last. An entry that vanished stays as long as it is behind an account; it is not present then.
CREATE TABLE directory_entry (
    tenant       TEXT    NOT NULL,
    directory    TEXT    NOT NULL,
    entry_id     TEXT    NOT NULL,
    disabled     BOOLEAN NOT NULL,
    own          TEXT    NOT NULL,
    hash         TEXT    NOT NULL,
    dn           TEXT    NOT NULL,
    mail         TEXT    NOT NULL,
    upn          TEXT    NOT NULL,
    display_name TEXT    NOT NULL,
    employee_id  TEXT    NOT NULL,
    department   TEXT    NOT NULL,
    entry_kind   TEXT    NOT NULL,
    more         TEXT    NOT NULL,
    profile      TEXT    NOT NULL,
    mail_key     TEXT    NOT NULL,
    upn_key      TEXT    NOT NULL,
    employee_key TEXT    NOT NULL,
    problem      TEXT    NOT NULL, -- why it changes no account: its own, or one found by looking at others
    since        BIGINT  NOT NULL, -- when the problem began
    present      BOOLEAN NOT NULL,
    account_id   TEXT    NOT NULL, -- of the account that it is behind, or empty
    joined       TEXT    NOT NULL, -- how it came to the account: first, a PersonField, or decision
    backs        BOOLEAN NOT NULL, -- the account counts it as one who is there
    held         TEXT    NOT NULL, -- JSON of what the account still goes by while the entry has a problem; empty: of what it says
    held_key     TEXT    NOT NULL, -- the address under which the account goes by it
    held_active  BOOLEAN NOT NULL, -- by which it is present and not disabled
    PRIMARY KEY (tenant, directory, entry_id)
);
CREATE INDEX directory_entry_mail ON directory_entry (tenant, mail_key);
CREATE INDEX directory_entry_upn ON directory_entry (tenant, upn_key) WHERE upn_key <> '';
CREATE INDEX directory_entry_employee ON directory_entry (tenant, employee_key) WHERE employee_key <> '';
CREATE INDEX directory_entry_account ON directory_entry (tenant, account_id) WHERE account_id <> '';
CREATE INDEX directory_entry_problem ON directory_entry (tenant, directory, entry_id) WHERE problem <> '';
CREATE INDEX directory_entry_absent ON directory_entry (tenant, directory, entry_id) WHERE NOT present;

CREATE TABLE entry_alias (
    tenant    TEXT NOT NULL,
    directory TEXT NOT NULL,
    entry_id  TEXT NOT NULL,
    alias_key TEXT NOT NULL,
    PRIMARY KEY (tenant, directory, entry_id, alias_key)
);
CREATE INDEX entry_alias_key ON entry_alias (tenant, alias_key);

-- The entries of a directory that a pass has to look at one by one: those that changed or are gone, and those that may be touched by it.
-- It is worked out anew by every comparison and application.
CREATE TABLE import_touched (
    tenant       TEXT    NOT NULL,
    directory    TEXT    NOT NULL,
    entry_id     TEXT    NOT NULL,
    staged       BOOLEAN NOT NULL, -- what it says is in staged_entry, else in directory_entry
    listed       BOOLEAN NOT NULL,
    present      BOOLEAN NOT NULL, -- after the pass
    own          TEXT    NOT NULL,
    mail_key     TEXT    NOT NULL,
    upn_key      TEXT    NOT NULL,
    employee_key TEXT    NOT NULL,
    has_mail     BOOLEAN NOT NULL, -- mail_key is a mail
    has_upn      BOOLEAN NOT NULL,
    was          TEXT    NOT NULL, -- the problem before
    old_account  TEXT    NOT NULL,
    own_account  TEXT    NOT NULL, -- the account it would make
    held_key     TEXT    NOT NULL,
    held_active  BOOLEAN NOT NULL,
    status       TEXT    NOT NULL, -- the problem after
    account      TEXT    NOT NULL, -- after
    joined       TEXT    NOT NULL,
    PRIMARY KEY (tenant, directory, entry_id)
);
CREATE INDEX import_touched_mail ON import_touched (tenant, directory, mail_key);
CREATE INDEX import_touched_account ON import_touched (tenant, directory, account);

-- The accounts behind which a touched entry is, or was.
CREATE TABLE import_account (
    tenant    TEXT NOT NULL,
    directory TEXT NOT NULL,
    account   TEXT NOT NULL,
    PRIMARY KEY (tenant, directory, account)
);

-- The accounts that a touched entry without one fits.
CREATE TABLE import_candidate (
    tenant    TEXT    NOT NULL,
    directory TEXT    NOT NULL,
    entry_id  TEXT    NOT NULL,
    account   TEXT    NOT NULL,
    field     TEXT    NOT NULL, -- by which it was found first
    PRIMARY KEY (tenant, directory, entry_id, account)
);
CREATE INDEX import_candidate_account ON import_candidate (tenant, directory, account);

-- The candidates of the entries that are in conflict, as the last import found them.
CREATE TABLE merge_candidate (
    tenant    TEXT NOT NULL,
    directory TEXT NOT NULL,
    entry_id  TEXT NOT NULL,
    account   TEXT NOT NULL,
    field     TEXT NOT NULL,
    PRIMARY KEY (tenant, directory, entry_id, account)
);

CREATE TABLE merge_decision (
    tenant    TEXT   NOT NULL,
    directory TEXT   NOT NULL,
    entry_id  TEXT   NOT NULL,
    verdict   TEXT   NOT NULL,
    account   TEXT   NOT NULL,
    decided_by TEXT  NOT NULL,
    reason    TEXT   NOT NULL,
    at        BIGINT NOT NULL,
    PRIMARY KEY (tenant, directory, entry_id)
);

-- Mail is not unique: a preserved person's address may be given to a new one.
CREATE TABLE account (
    tenant       TEXT   NOT NULL,
    id           TEXT   NOT NULL,
    directory    TEXT   NOT NULL, -- directory and entry_id: the entry of the highest precedence
    entry_id     TEXT   NOT NULL,
    mail         TEXT   NOT NULL,
    upn          TEXT   NOT NULL,
    display_name TEXT   NOT NULL,
    employee_id  TEXT   NOT NULL,
    department   TEXT   NOT NULL,
    kind         TEXT   NOT NULL,
    profile      TEXT   NOT NULL,
    mail_key     TEXT   NOT NULL,
    upn_key      TEXT   NOT NULL, -- if it is not mail_key
    state        TEXT   NOT NULL,
    reason       TEXT   NOT NULL,
    since        BIGINT NOT NULL,
    provenance   TEXT   NOT NULL, -- JSON: the directory of each field; empty: all are of directory
    added_report BIGINT NOT NULL, -- the import that made it
    added        BIGINT NOT NULL, -- when that was
    PRIMARY KEY (tenant, id)
);
CREATE INDEX account_mail ON account (tenant, mail_key, id);
CREATE INDEX account_upn ON account (tenant, upn_key) WHERE upn_key <> '';
CREATE INDEX account_leaver ON account (tenant, state, id) WHERE state <> 'active';

-- The audit trail. That a plain addition was added stands in account only.
CREATE TABLE account_event (
    tenant  TEXT   NOT NULL,
    account TEXT   NOT NULL,
    at      BIGINT NOT NULL,
    report  BIGINT NOT NULL, -- 0: no import did it
    kind    TEXT   NOT NULL,
    body    TEXT   NOT NULL, -- JSON of backup.AccountEvent
    PRIMARY KEY (tenant, account, at, report, kind)
);

-- Which services a run backs up for the people of a profile; the empty profile is everybody else's, and an empty service is none.
CREATE TABLE run_plan (
    tenant  TEXT   NOT NULL,
    number  BIGINT NOT NULL,
    profile TEXT   NOT NULL,
    service TEXT   NOT NULL,
    PRIMARY KEY (tenant, number, profile, service)
);

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
