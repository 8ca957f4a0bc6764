import { Inject } from '@nestjs/common';
import type { LockService } from '../lock/lock-service.js';
import { getLockServiceToken } from './inject-lock-service.js';

/** The services that each instance was given, by instance name: beside the instance, so that it looks as its author made it. */
const services = new WeakMap<object, Map<string | undefined, LockService>>();
/** For each prototype with locked methods: the properties through which its instances are given services. */
const needs = new WeakMap<object, Map<string | undefined, string>>();

/**
 * Has Nest hand the class's every instance its own application's service, by a property that the decorator adds: singletons, request-scoped and transient
 * providers, controllers, and several applications in one process are all served by Nest's own injector.
 */
export function needService(prototype: object, name: string | undefined): void {
  const own = needs.get(prototype) ?? new Map<string | undefined, string>();
  if (own.has(name)) return;
  // Nest names the property in its error when the module is missing.
  const property =
    name === undefined
      ? 'ReplicaLockModule (needed by @ReplicaLocked)'
      : `ReplicaLockModule '${name}' (needed by @ReplicaLocked)`;
  Inject(getLockServiceToken(name))(prototype, property);
  Object.defineProperty(prototype, property, {
    configurable: true,
    set(this: object, service: LockService) {
      giveService(this, name, service);
    },
  });
  needs.set(prototype, own.set(name, property));
}

export function giveService(instance: object, name: string | undefined, service: LockService): void {
  const own = services.get(instance) ?? new Map<string | undefined, LockService>();
  services.set(instance, own.set(name, service));
}

/** Undefined where the instance was not made by Nest. */
export function serviceOf(instance: unknown, name: string | undefined): LockService | undefined {
  return typeof instance === 'object' && instance !== null ? services.get(instance)?.get(name) : undefined;
}

/** The instance names that locked methods of this object, inherited ones included, ask for. */
export function neededBy(instance: object): Set<string | undefined> {
  const names = new Set<string | undefined>();
  for (let at: object | null = Object.getPrototypeOf(instance); at !== null; at = Object.getPrototypeOf(at)) {
    for (const name of needs.get(at)?.keys() ?? []) names.add(name);
  }
  return names;
}
