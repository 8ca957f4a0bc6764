/**
 * Finds the end of each RESP value (a reply or a request) in a stream that arrives in any pieces.
 * Knows RESP 2 and 3. Reports nothing more once the stream is not RESP (a replica's feed, TLS).
 */
export class RespStream {
  /** The bytes of the incomplete value. */
  #begun: Buffer[] = [];
  /** How many values each open aggregate still lacks. */
  #lacking: number[] = [];
  #reading: { kind: 'header'; line: string } | { kind: 'body'; left: number } | { kind: 'nothing' } = HEADER;

  /** The values that `chunk` completes, each with the offset in `chunk` behind its last byte. */
  push(chunk: Buffer): { value: Buffer; end: number }[] {
    const complete: { value: Buffer; end: number }[] = [];
    let start = 0;
    let at = 0;
    while (at < chunk.length && this.#reading.kind !== 'nothing') {
      const { end, completes } = this.#readOn(chunk, at);
      at = end;
      if (!completes) continue;
      complete.push({ value: Buffer.concat([...this.#begun, chunk.subarray(start, at)]), end: at });
      this.#begun = [];
      start = at;
    }
    if (this.#reading.kind === 'nothing') this.#begun = [];
    else this.#begun.push(chunk.subarray(start));
    return complete;
  }

  /** Reads to the end of the current header line or body, or of the chunk. */
  #readOn(chunk: Buffer, from: number): { end: number; completes: boolean } {
    const reading = this.#reading;
    if (reading.kind === 'body') {
      const taken = Math.min(reading.left, chunk.length - from);
      this.#reading = { kind: 'body', left: reading.left - taken };
      return { end: from + taken, completes: taken === reading.left && this.#scalarEnds() };
    }
    const newline = chunk.indexOf('\n', from);
    const end = newline < 0 ? chunk.length : newline + 1;
    const line = (reading.kind === 'header' ? reading.line : '') + chunk.toString('latin1', from, end);
    this.#reading = { kind: 'header', line };
    return { end, completes: newline >= 0 && this.#headerEnds(line) };
  }

  #headerEnds(line: string): boolean {
    const [, type = '', rest = ''] = /^(.)(.*)\r\n$/.exec(line) ?? [];
    const count = /^-?\d+$/.test(rest) ? Number(rest) : undefined;
    this.#reading = HEADER;
    if ('+-:_,#('.includes(type || '?')) return this.#scalarEnds();
    if ('$=!'.includes(type || '?') && count !== undefined) {
      if (count < 0) return this.#scalarEnds();
      this.#reading = { kind: 'body', left: count + '\r\n'.length };
      return false;
    }
    if ('*~>%|'.includes(type || '?') && count !== undefined) {
      const values = '%|'.includes(type) ? count * 2 : count;
      if (values <= 0) return this.#scalarEnds();
      this.#lacking.push(values);
      return false;
    }
    this.#reading = { kind: 'nothing' };
    return false;
  }

  /** Also ends the aggregates whose last value this was. True if the whole value is complete. */
  #scalarEnds(): boolean {
    this.#reading = HEADER;
    while (this.#lacking.length > 0) {
      const left = this.#lacking.pop()! - 1;
      if (left > 0) {
        this.#lacking.push(left);
        return false;
      }
    }
    return true;
  }
}

const HEADER = { kind: 'header', line: '' } as const;
