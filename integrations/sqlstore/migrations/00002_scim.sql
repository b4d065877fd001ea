-- What identity providers push by SCIM. Read by SQLite and PostgreSQL alike; points in time are microseconds since 1970 UTC, 0 is "never".

-- +goose Up

CREATE TABLE scim_token (
    tenant    TEXT   NOT NULL REFERENCES tenant (id),
    directory TEXT   NOT NULL,
    label     TEXT   NOT NULL,
    hash      BYTEA  NOT NULL UNIQUE, -- SHA-256; the token itself is with the identity provider only
    created   BIGINT NOT NULL,
    created_by TEXT  NOT NULL,
    expires   BIGINT NOT NULL,
    last_used BIGINT NOT NULL, -- to the hour
    revoked   BIGINT NOT NULL,
    PRIMARY KEY (tenant, directory, label)
);

-- One directory of one tenant. Whoever changes anything of it holds this row until the end of his transaction, so that sequences are
-- given in the order of commits.
CREATE TABLE scim_directory (
    id          BIGINT NOT NULL PRIMARY KEY,
    tenant      TEXT   NOT NULL,
    directory   TEXT   NOT NULL,
    sequence    BIGINT NOT NULL, -- the newest change
    user_count  BIGINT NOT NULL,
    group_count BIGINT NOT NULL,
    UNIQUE (tenant, directory)
);

-- A number is the sequence at which a user or a group was created; so lists are in order of creation, and the two kinds never share one.
-- A deleted user keeps its id and its place among the changes, and nothing else. The key's last column lets pages be counted off
-- without reading a row.
CREATE TABLE scim_user (
    scope       BIGINT  NOT NULL,
    number      BIGINT  NOT NULL,
    id          TEXT    NOT NULL,
    external_id TEXT    NOT NULL,
    user_name   TEXT    NOT NULL,
    name_key    TEXT    NOT NULL, -- in lower case
    active      BOOLEAN NOT NULL,
    doc         TEXT    NOT NULL,
    version     BIGINT  NOT NULL,
    created     BIGINT  NOT NULL,
    modified    BIGINT  NOT NULL,
    sequence    BIGINT  NOT NULL, -- of the newest change of the user or of one of its groups
    deleted     BIGINT  NOT NULL,
    PRIMARY KEY (scope, number, deleted),
    UNIQUE (scope, id)
);
CREATE UNIQUE INDEX scim_user_name ON scim_user (scope, name_key) WHERE deleted = 0;
CREATE INDEX scim_user_external ON scim_user (scope, external_id) WHERE external_id <> '';
CREATE INDEX scim_user_sequence ON scim_user (scope, sequence);

CREATE TABLE scim_group (
    scope        BIGINT NOT NULL,
    number       BIGINT NOT NULL,
    id           TEXT   NOT NULL,
    external_id  TEXT   NOT NULL,
    display_name TEXT   NOT NULL,
    name_key     TEXT   NOT NULL, -- in lower case
    doc          TEXT   NOT NULL,
    version      BIGINT NOT NULL,
    created      BIGINT NOT NULL,
    modified     BIGINT NOT NULL,
    PRIMARY KEY (scope, number),
    UNIQUE (scope, id)
);
CREATE INDEX scim_group_name ON scim_group (scope, name_key);
CREATE INDEX scim_group_external ON scim_group (scope, external_id) WHERE external_id <> '';

-- The attributes of users and groups that filters may ask for. Those that tell one resource from another are found by their value; an
-- index over all would double the cost of a user.
CREATE TABLE scim_value (
    scope  BIGINT  NOT NULL,
    owner  BIGINT  NOT NULL, -- the number of the user or group
    path   TEXT    NOT NULL,
    type   TEXT    NOT NULL,
    text   TEXT    NOT NULL,
    keyed  BOOLEAN NOT NULL
);
CREATE INDEX scim_value_owner ON scim_value (scope, owner);
CREATE INDEX scim_value_keyed ON scim_value (scope, text, path) WHERE keyed;

-- A member may be one that is not there yet.
CREATE TABLE scim_member (
    scope     BIGINT NOT NULL,
    in_group  BIGINT NOT NULL, -- its number
    member    TEXT   NOT NULL, -- the id of a user or a group
    display   TEXT   NOT NULL,
    PRIMARY KEY (scope, in_group, member)
);
CREATE INDEX scim_member_of ON scim_member (scope, member);

-- The members that one request adds and removes, while its transaction lasts.
CREATE TABLE scim_staged_member (
    scope   BIGINT  NOT NULL,
    member  TEXT    NOT NULL,
    display TEXT    NOT NULL,
    leaves  BOOLEAN NOT NULL,
    PRIMARY KEY (scope, member)
);
