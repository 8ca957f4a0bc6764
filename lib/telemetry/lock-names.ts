/** The most names that one process makes of keys. Every further key is named `other`. */
const MOST_NAMES = 100;

/**
 * Names locks for metrics and spans. The names stay few, however many keys there are. The name is
 * the acquisition's label, if there is one: a decorated method has its template as label. Otherwise
 * the name is the key up to the first colon: `order:*` for `order:42`.
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
