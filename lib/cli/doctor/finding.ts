export type Level = 'ok' | 'warning' | 'problem';

/** What the doctor found in one respect. */
export interface Finding {
  readonly level: Level;
  /** A stable name of what was looked at, for filters. */
  readonly check: string;
  /** What was found, in a sentence. */
  readonly text: string;
  /** What to do. Set for warnings and problems. */
  readonly advice?: string;
}

/** The findings about one server, or about all of them. */
export interface Section {
  /** `master 10.0.0.1:6379`. */
  readonly title: string;
  readonly findings: readonly Finding[];
}

export function ok(check: string, text: string): Finding {
  return { level: 'ok', check, text };
}

export function warning(check: string, text: string, advice: string): Finding {
  return { level: 'warning', check, text, advice };
}

export function problem(check: string, text: string, advice: string): Finding {
  return { level: 'problem', check, text, advice };
}

/** The worst level of all findings. */
export function worstOf(sections: readonly Section[]): Level {
  const levels = new Set(sections.flatMap(({ findings }) => findings.map(({ level }) => level)));
  return levels.has('problem') ? 'problem' : levels.has('warning') ? 'warning' : 'ok';
}

/** `1 replica`, `2 replicas`. */
export function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`;
}
