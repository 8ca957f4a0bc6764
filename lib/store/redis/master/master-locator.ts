import { addressText, type Address } from '../resp.js';

/**
 * The address of a master, and the name by which the servers know the master. The two differ behind
 * address translation.
 */
export interface LocatedMaster {
  readonly address: Address;
  /** `ip:port` as Sentinels or Cluster nodes name the master. */
  readonly identity: string;
}

/** Finds the master of one set of servers. */
export interface MasterLocator {
  /** Called before every connection; rejects with the reason if the master cannot be located. */
  locate(): Promise<LocatedMaster>;
  /** False if another server is known to be the master now. */
  isCurrent(identity: string): boolean;
  /** True if the user gave the address, so that no other master can be named. */
  readonly isFixed: boolean;
  /** Where this searches for the master: for messages about a master that was not located yet. */
  readonly whereabouts: string;
}

/** A master at one address. */
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
