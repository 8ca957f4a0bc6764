/** The command line is wrong. The message says how, without secrets. */
export class UsageError extends Error {}

export const USAGE = `Usage: nestjs-replica-lock <command> [options]

Commands:
  ls [--match <glob>]      List the keys that are held, and the results that keys keep
  inspect <key>            Show the holders of a key
  release <key> [<owner>]  Take a key away from all its holders, or from one owner
  doctor                   Say whether this Redis can keep what locks promise

Where Redis is (one of these):
  --url <url>              redis://host:port, or rediss:// for TLS, without a password
  --sentinel <host:port,...> --master <name>
  --nodes <host:port,...>  Nodes of a Redis Cluster
In --sentinel and --nodes, rediss://host:port stands for TLS.

Options:
  --key-prefix <prefix>    The option keyPrefix of the module (default: lock:)
  --json                   Print JSON
  --help, --version

Environment, for all that is not given above:
  REPLICA_LOCK_URL, REPLICA_LOCK_SENTINELS, REPLICA_LOCK_MASTER, REPLICA_LOCK_NODES, REPLICA_LOCK_KEY_PREFIX
  REPLICA_LOCK_USERNAME, REPLICA_LOCK_PASSWORD
  REPLICA_LOCK_SENTINEL_USERNAME, REPLICA_LOCK_SENTINEL_PASSWORD

Exit codes: 0 fine, 1 no (the key is free, nothing was released, the doctor found a problem),
  2 wrong usage, 3 Redis cannot be asked or the output cannot be written, 4 the doctor found warnings.
`;
