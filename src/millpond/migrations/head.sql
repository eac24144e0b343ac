CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE meta (
	"key" VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	PRIMARY KEY ("key")
);
CREATE TABLE blobs (
	digest VARCHAR NOT NULL, 
	size BIGINT NOT NULL, 
	created_at DOUBLE NOT NULL, 
	doomed_at DOUBLE, 
	keep_until DOUBLE NOT NULL, 
	PRIMARY KEY (digest)
);
CREATE INDEX ix_blobs_doomed_at ON blobs (doomed_at) WHERE doomed_at IS NOT NULL;
CREATE TABLE entries (
	id INTEGER NOT NULL, 
	repository VARCHAR NOT NULL, 
	path VARCHAR NOT NULL, 
	variant VARCHAR NOT NULL, 
	status INTEGER NOT NULL, 
	digest VARCHAR, 
	size BIGINT NOT NULL, 
	content_type VARCHAR NOT NULL, 
	content_encoding VARCHAR NOT NULL, 
	etag VARCHAR NOT NULL, 
	last_modified VARCHAR NOT NULL, 
	source_url VARCHAR NOT NULL, 
	stored_at DOUBLE NOT NULL, 
	validated_at DOUBLE NOT NULL, 
	checked_at DOUBLE NOT NULL, 
	fresh_until DOUBLE NOT NULL, 
	retry_at DOUBLE NOT NULL, 
	refresh_until DOUBLE NOT NULL, 
	unchecked BOOLEAN NOT NULL, 
	failure VARCHAR NOT NULL, 
	local BOOLEAN NOT NULL, 
	last_used DOUBLE NOT NULL, 
	uploaded_by VARCHAR NOT NULL, next_page VARCHAR DEFAULT '' NOT NULL, identity VARCHAR DEFAULT '' NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (repository, path, variant), 
	FOREIGN KEY(digest) REFERENCES blobs (digest)
);
CREATE INDEX ix_entries_digest ON entries (digest);
CREATE INDEX ix_entries_last_used ON entries (last_used, id);
CREATE INDEX ix_entries_negative ON entries (fresh_until) WHERE digest IS NULL;
CREATE TABLE usage (
	id INTEGER NOT NULL, 
	at DOUBLE NOT NULL, 
	repository VARCHAR NOT NULL, 
	path VARCHAR NOT NULL, 
	digest VARCHAR NOT NULL, 
	token VARCHAR NOT NULL, 
	outcome VARCHAR NOT NULL, 
	size BIGINT NOT NULL, 
	count INTEGER NOT NULL, 
	PRIMARY KEY (id)
);
CREATE INDEX ix_usage_path ON usage (repository, path);
CREATE INDEX ix_usage_at ON usage (at);
CREATE INDEX ix_usage_digest ON usage (digest);
CREATE INDEX ix_usage_token ON usage (token);
CREATE TABLE tokens (
	id VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	secret_sha256 VARCHAR NOT NULL, 
	scopes VARCHAR NOT NULL, 
	created_at DOUBLE NOT NULL, 
	expires_at DOUBLE, 
	revoked_at DOUBLE, 
	last_used_at DOUBLE, 
	PRIMARY KEY (id), 
	UNIQUE (secret_sha256)
);
CREATE TABLE leases (
	name VARCHAR NOT NULL, 
	holder VARCHAR NOT NULL, 
	fence BIGINT NOT NULL, 
	ttl_s DOUBLE NOT NULL, 
	expires_at DOUBLE NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE host_runs (
	host VARCHAR NOT NULL, 
	task VARCHAR NOT NULL, 
	ran_at DOUBLE, 
	error VARCHAR NOT NULL, 
	told VARCHAR NOT NULL, 
	PRIMARY KEY (host, task)
);
CREATE TABLE releases (
	app VARCHAR NOT NULL, 
	number INTEGER NOT NULL, 
	state VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	checksum VARCHAR NOT NULL, 
	document TEXT NOT NULL, 
	hosts VARCHAR NOT NULL, 
	images TEXT NOT NULL, 
	by_whom VARCHAR NOT NULL, 
	commit_id VARCHAR NOT NULL, 
	sets TEXT NOT NULL, 
	restores INTEGER, 
	fence BIGINT NOT NULL, 
	created_at DOUBLE NOT NULL, 
	began_at DOUBLE, 
	activated_at DOUBLE, 
	ended_at DOUBLE, 
	error VARCHAR NOT NULL, 
	progress TEXT NOT NULL, 
	details TEXT NOT NULL, 
	PRIMARY KEY (app, number)
);
CREATE TABLE delivery_tasks (
	id INTEGER NOT NULL, 
	"key" VARCHAR NOT NULL, 
	project VARCHAR NOT NULL, 
	issue VARCHAR NOT NULL, 
	repo VARCHAR NOT NULL, 
	branch VARCHAR NOT NULL, 
	title VARCHAR NOT NULL, 
	stage VARCHAR NOT NULL, 
	phase VARCHAR NOT NULL, 
	visit INTEGER NOT NULL, 
	attempts INTEGER NOT NULL, 
	returns INTEGER NOT NULL, 
	not_before DOUBLE NOT NULL, 
	since DOUBLE NOT NULL, 
	sha VARCHAR NOT NULL, 
	reason VARCHAR NOT NULL, 
	parked_as VARCHAR, 
	cancelling VARCHAR NOT NULL, 
	used VARCHAR NOT NULL, 
	inputs INTEGER NOT NULL, 
	mark_at DOUBLE NOT NULL, 
	mark_id VARCHAR NOT NULL, 
	shown VARCHAR NOT NULL, 
	options VARCHAR NOT NULL, 
	created_at DOUBLE NOT NULL, 
	version BIGINT NOT NULL, judged VARCHAR DEFAULT '' NOT NULL, 
	PRIMARY KEY (id)
);
CREATE UNIQUE INDEX ux_delivery_tasks_open ON delivery_tasks (project, issue) WHERE phase IN ('gated', 'parked', 'ready', 'working');
CREATE INDEX ix_delivery_tasks_issue ON delivery_tasks (project, issue, id);
CREATE INDEX ix_delivery_tasks_key ON delivery_tasks ("key");
CREATE TABLE delivery_jobs (
	id INTEGER NOT NULL, 
	task BIGINT NOT NULL, 
	project VARCHAR NOT NULL, 
	issue VARCHAR NOT NULL, 
	repo VARCHAR NOT NULL, 
	dedup_key VARCHAR NOT NULL, 
	stage VARCHAR NOT NULL, 
	step VARCHAR NOT NULL, 
	visit INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	state VARCHAR NOT NULL, 
	sha VARCHAR NOT NULL, 
	rank INTEGER NOT NULL, 
	not_before DOUBLE NOT NULL, 
	timeout_s DOUBLE NOT NULL, 
	usd DOUBLE, 
	turns INTEGER, 
	settings VARCHAR NOT NULL, 
	worker VARCHAR NOT NULL, 
	fence BIGINT NOT NULL, 
	lease_s DOUBLE NOT NULL, 
	lease_until DOUBLE NOT NULL, 
	heartbeat_at DOUBLE NOT NULL, 
	queued_at DOUBLE NOT NULL, 
	started_at DOUBLE NOT NULL, 
	ended_at DOUBLE NOT NULL, 
	reason VARCHAR NOT NULL, 
	after_s DOUBLE NOT NULL, 
	stop BOOLEAN NOT NULL, 
	settled BOOLEAN NOT NULL, 
	PRIMARY KEY (id)
);
CREATE UNIQUE INDEX ux_delivery_jobs_running ON delivery_jobs (repo) WHERE state = 'running';
CREATE UNIQUE INDEX ux_delivery_jobs_dedup ON delivery_jobs (dedup_key) WHERE state IN ('queued', 'running');
CREATE INDEX ix_delivery_jobs_queue ON delivery_jobs (rank, not_before, id) WHERE state = 'queued';
CREATE INDEX ix_delivery_jobs_lease ON delivery_jobs (lease_until) WHERE state = 'running';
CREATE INDEX ix_delivery_jobs_task ON delivery_jobs (task, id);
CREATE TABLE delivery_runs (
	job BIGINT NOT NULL, 
	fence BIGINT NOT NULL, 
	worker VARCHAR NOT NULL, 
	started_at DOUBLE NOT NULL, 
	ended_at DOUBLE, 
	ended VARCHAR NOT NULL, 
	reason VARCHAR NOT NULL, node VARCHAR DEFAULT '' NOT NULL, pid BIGINT, start BIGINT, boot VARCHAR DEFAULT '' NOT NULL, log VARCHAR DEFAULT '' NOT NULL, 
	PRIMARY KEY (job, fence)
);
CREATE TABLE delivery_evidence (
	id INTEGER NOT NULL, 
	task BIGINT NOT NULL, 
	visit INTEGER NOT NULL, 
	kind VARCHAR NOT NULL, 
	sha VARCHAR NOT NULL, 
	at DOUBLE NOT NULL, 
	source VARCHAR NOT NULL, 
	facts VARCHAR NOT NULL, 
	PRIMARY KEY (id)
);
CREATE INDEX ix_delivery_evidence_task ON delivery_evidence (task, visit);
CREATE TABLE delivery_gates (
	task BIGINT NOT NULL, 
	visit INTEGER NOT NULL, 
	gate VARCHAR NOT NULL, 
	stage VARCHAR NOT NULL, 
	word VARCHAR NOT NULL, 
	reason VARCHAR NOT NULL, 
	at DOUBLE NOT NULL, 
	PRIMARY KEY (task, visit, gate)
);
CREATE TABLE delivery_nudges (
	project VARCHAR NOT NULL, 
	issue VARCHAR NOT NULL, 
	not_before DOUBLE NOT NULL, 
	attempts INTEGER NOT NULL, 
	dirty BIGINT NOT NULL, 
	urgent BOOLEAN NOT NULL, 
	seen_at DOUBLE NOT NULL, 
	fence BIGINT NOT NULL, 
	lease_until DOUBLE NOT NULL, 
	PRIMARY KEY (project, issue)
);
CREATE INDEX ix_delivery_nudges_due ON delivery_nudges (not_before);
CREATE TABLE delivery_outbox (
	id INTEGER NOT NULL, 
	"key" VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	project VARCHAR NOT NULL, 
	issue VARCHAR NOT NULL, 
	task BIGINT NOT NULL, 
	payload VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	attempts INTEGER NOT NULL, 
	not_before DOUBLE NOT NULL, 
	fence BIGINT NOT NULL, 
	lease_until DOUBLE NOT NULL, 
	made_at DOUBLE NOT NULL, 
	ended_at DOUBLE NOT NULL, 
	error VARCHAR NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE ("key")
);
CREATE INDEX ix_delivery_outbox_due ON delivery_outbox (not_before, id) WHERE state = 'pending';
CREATE INDEX ix_delivery_outbox_issue ON delivery_outbox (project, issue) WHERE state = 'pending';
CREATE TABLE delivery_costs (
	job BIGINT NOT NULL, 
	fence BIGINT NOT NULL, 
	task BIGINT NOT NULL, 
	project VARCHAR NOT NULL, 
	at DOUBLE NOT NULL, 
	day INTEGER NOT NULL, 
	usd DOUBLE NOT NULL, 
	turns INTEGER NOT NULL, 
	PRIMARY KEY (job, fence)
);
CREATE INDEX ix_delivery_costs_task ON delivery_costs (task);
CREATE INDEX ix_delivery_costs_day ON delivery_costs (project, day);
CREATE TABLE delivery_events (
	id INTEGER NOT NULL, 
	at DOUBLE NOT NULL, 
	project VARCHAR NOT NULL, 
	issue VARCHAR NOT NULL, 
	task BIGINT NOT NULL, 
	what VARCHAR NOT NULL, 
	detail VARCHAR NOT NULL, 
	PRIMARY KEY (id)
);
CREATE INDEX ix_delivery_events_task ON delivery_events (task, id);
CREATE INDEX ix_delivery_events_at ON delivery_events (at);
CREATE TABLE board_projects (
	project VARCHAR NOT NULL, 
	revision BIGINT NOT NULL, 
	last_number BIGINT NOT NULL, 
	PRIMARY KEY (project)
);
CREATE TABLE board_columns (
	project VARCHAR NOT NULL, 
	id VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	position INTEGER NOT NULL, 
	PRIMARY KEY (project, id)
);
CREATE TABLE board_issues (
	project VARCHAR NOT NULL, 
	number BIGINT NOT NULL, 
	title VARCHAR NOT NULL, 
	description TEXT NOT NULL, 
	labels TEXT NOT NULL, 
	state VARCHAR NOT NULL, 
	author VARCHAR NOT NULL, 
	created_at DOUBLE NOT NULL, 
	updated_at DOUBLE NOT NULL, 
	revision BIGINT NOT NULL, moved_by VARCHAR DEFAULT '' NOT NULL, 
	PRIMARY KEY (project, number)
);
CREATE INDEX ix_board_issues_revision ON board_issues (project, revision);
CREATE INDEX ix_board_issues_state ON board_issues (project, state, number);
CREATE TABLE board_comments (
	id INTEGER NOT NULL, 
	project VARCHAR NOT NULL, 
	number BIGINT NOT NULL, 
	at DOUBLE NOT NULL, 
	author VARCHAR NOT NULL, 
	text TEXT NOT NULL, 
	"key" VARCHAR, 
	PRIMARY KEY (id)
);
CREATE INDEX ix_board_comments_issue ON board_comments (project, number, id);
CREATE UNIQUE INDEX ux_board_comments_key ON board_comments (project, number, "key");
CREATE INDEX ix_delivery_jobs_owing ON delivery_jobs (project) WHERE state IN ('lost', 'queued', 'running');
