import { Inject } from '@nestjs/common';
import type { LockService } from '../lock/lock-service.js';
import { getLockServiceToken } from '../tokens.js';

/**
 * The services that each object was given, by instance name. The map is kept outside the object,
 * which gets no additional property.
 */
const services = new WeakMap<object, Map<string | undefined, LockService>>();
/** The services of the applications that run in this process, by instance name. */
const running = new Map<string | undefined, Set<LockService>>();
/**
 * For each prototype with locked methods: the properties through which Nest injects the services.
 */
const needs = new WeakMap<object, Map<string | undefined, string>>();

/**
 * Makes Nest inject the application's service into every object of the class, through a property
 * that the decorator adds. Nest's own injector then serves singletons, request-scoped and transient
 * providers, controllers, and several applications in one process.
 */
export function needService(prototype: object, name: string | undefined, by = '@ReplicaLocked'): void {
  const own = needs.get(prototype) ?? new Map<string | undefined, string>();
  if (own.has(name)) return;
  // Nest names the property in its error when the module is missing.
  const property =
    name === undefined
      ? `ReplicaLockModule (needed by ${by})`
      : `ReplicaLockModule '${name}' (needed by ${by})`;
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

/** Called when an application with this service starts; `forgetService` when it stops. */
export function offerService(name: string | undefined, service: LockService): void {
  const others = running.get(name) ?? new Set();
  running.set(name, others.add(service));
}

export function forgetService(name: string | undefined, service: LockService): void {
  running.get(name)?.delete(service);
}

/**
 * The service that the object locks with: the service that Nest injected. Nest injects nothing into
 * an object that a request-scoped, transient or lazily loaded factory made. Such an object gets the
 * service of the running application, if there is exactly one. Undefined otherwise: see
 * `noService`.
 */
export function serviceOf(instance: unknown, name: string | undefined): LockService | undefined {
  const given =
    typeof instance === 'object' && instance !== null ? services.get(instance)?.get(name) : undefined;
  if (given !== undefined) return given;
  const [only, ...others] = running.get(name) ?? [];
  return others.length === 0 ? only : undefined;
}

/** The error of a locked method for which `serviceOf` found no service. */
export function noService(name: string | undefined, method: string): Error {
  const module = name === undefined ? 'ReplicaLockModule' : `ReplicaLockModule '${name}'`;
  const count = running.get(name)?.size ?? 0;
  return new Error(
    count === 0
      ? `${method} is locked, but no application with ${module} runs, so there is no LockService to lock it with. ` +
          "Import the module. In a unit test call new TestLocks().provideTo(object), from 'nestjs-replica-lock/testing'."
      : `${method} is locked, but its object was made by a factory or by hand, and ${count} applications with ${module} run in this process. ` +
          "Let Nest make the object from its class, or call TestLocks.provideTo(object), from 'nestjs-replica-lock/testing'.",
  );
}

/**
 * The instance names that the locked methods of this object ask for, inherited methods included.
 */
export function neededBy(instance: object): Set<string | undefined> {
  const names = new Set<string | undefined>();
  for (let at: object | null = Object.getPrototypeOf(instance); at !== null; at = Object.getPrototypeOf(at)) {
    for (const name of needs.get(at)?.keys() ?? []) names.add(name);
  }
  return names;
}
