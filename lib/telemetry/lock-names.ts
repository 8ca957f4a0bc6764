/** Names that one process makes of keys at most; every further key is called `other`. */
const MOST_NAMES = 100;

/**
 * What locks are called in metrics and spans: few names, however many keys there are. An acquisition's label where it has one (decorated methods have their template);
 * else the key up to its first colon, `order:*` of `order:42`.
 */
export class LockNames {
  private readonly made = new Set<string>();

  nameOf(keys: readonly string[], label: string | undefined): string {
    if (label !== undefined) return label;
    const [first = ''] = keys;
    return this.bounded(
      keys.length === 1 ? kindOf(first) : [...new Set(keys.map(kindOf))].toSorted().join(' '),
    );
  }

  private bounded(name: string): string {
    if (this.made.has(name)) return name;
    if (this.made.size >= MOST_NAMES) return 'other';
    this.made.add(name);
    return name;
  }
}

function kindOf(key: string): string {
  const end = key.indexOf(':');
  return end < 0 ? key : `${key.slice(0, end)}:*`;
}
