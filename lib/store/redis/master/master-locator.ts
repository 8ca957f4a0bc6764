import { addressText, type Address } from '../resp.js';

/** Where a master is, and what its peers call it: the two differ behind address translation. */
export interface LocatedMaster {
  readonly address: Address;
  /** `ip:port` as the servers name it to each other. */
  readonly identity: string;
}

/** Finds the master of one set of servers. */
export interface MasterLocator {
  /** Asked before every connection; rejects with the reason where nobody can tell. */
  locate(): Promise<LocatedMaster>;
  /** False once another master is known to be in charge. */
  isCurrent(identity: string): boolean;
  /** True if nobody can name another master: the user gave the address. */
  readonly isFixed: boolean;
  /** Where it looks for the master, in words: for a master that was not found yet. */
  readonly whereabouts: string;
}

/** A master at one address, whoever answers there. */
export class FixedMasterLocator implements MasterLocator {
  readonly isFixed = true;

  constructor(private readonly address: Address) {}

  locate(): Promise<LocatedMaster> {
    return Promise.resolve({ address: this.address, identity: addressText(this.address) });
  }

  isCurrent(): boolean {
    return true;
  }

  get whereabouts(): string {
    return addressText(this.address);
  }
}
