import { Injectable, type OnApplicationBootstrap, type OnModuleInit } from '@nestjs/common';
import { DiscoveryService, ModuleRef } from '@nestjs/core';
import type { Lock } from '../lock/lock.js';
import { LockService } from '../lock/lock-service.js';
import { prototypeOf } from './decorated-methods.js';
import { checkAt } from './definition-checks.js';
import { leaderMethodsOf, refuseHandler, type LeaderMethod } from './leader-method.js';
import { ModuleServices } from './module-services.js';

/** The long-lived work of each service, by the key of its election. */
const declared = new WeakMap<
  LockService,
  Map<string, { readonly name: string; readonly instance: object }>
>();

/** A decorated method of one provider, and the service that stands for its election. */
interface Found {
  readonly service: LockService;
  readonly method: LeaderMethod;
  /** Undefined for a request-scoped or transient provider. */
  readonly instance: object | undefined;
  readonly property: string | symbol;
}

/** What a decorated method says of its election. */
interface Declaration {
  readonly service: LockService;
  readonly method: LeaderMethod;
  /** The work of `@WhileLeader`. */
  readonly work: ((term: Lock) => unknown) | undefined;
}

/**
 * Stands for the elections of all decorated methods once the application has started, and calls
 * the methods with `@WhileLeader`.
 *
 * All decorators are checked in `onModuleInit`, before any election begins: a start that fails leaves
 * none behind. From then on the options of each election are known. So a method that is called
 * before the application has started begins no election with other options.
 */
@Injectable()
export class LeaderExplorer implements OnModuleInit, OnApplicationBootstrap {
  private readonly services: ModuleServices;
  private declarations: readonly Declaration[] = [];

  constructor(
    private readonly discovery: DiscoveryService,
    modules: ModuleRef,
  ) {
    this.services = new ModuleServices(modules);
  }

  onModuleInit(): void {
    this.declarations = this.found().map((found) => {
      const { service, method } = found;
      const work = method.decorator === '@WhileLeader' ? workOf(found) : undefined;
      // Without the work, which must not begin before the application has started.
      declare({ service, method, work: undefined });
      return { service, method, work };
    });
  }

  onApplicationBootstrap(): void {
    for (const each of this.declarations) declare(each);
    for (const { service, method } of this.declarations) service.elect(method.key);
  }

  private found(): Found[] {
    const found: Found[] = [];
    for (const wrapper of [...this.discovery.getProviders(), ...this.discovery.getControllers()]) {
      // Nest keeps an object of each transient class whose constructor has never run.
      const isSingleton = wrapper.isDependencyTreeStatic() && !wrapper.isTransient;
      const instance = isSingleton ? (wrapper.instance as object | undefined) : undefined;
      const prototype = wrapper.isNotMetatype ? prototypeOf(instance) : wrapper.metatype?.prototype;
      for (const { property, handler, method } of leaderMethodsOf(prototype)) {
        refuseHandler(method, handler);
        const service = this.services.serviceOf(method.instanceName);
        // A test may have put a plain object in place of the service.
        if (service instanceof LockService) found.push({ service, method, instance, property });
      }
    }
    return found;
  }
}

function declare({ service, method, work }: Declaration): void {
  const { decorator, key, name, options } = method;
  checkAt(`${decorator} on ${name}`, () => service.elections.declare(key, options, work));
}

/** The work of a method with `@WhileLeader`. Throws `TypeError` if the method cannot be called. */
function workOf({ service, method: { key, name }, instance, property }: Found): (term: Lock) => unknown {
  if (instance === undefined)
    throw new TypeError(
      `@WhileLeader on ${name}: the provider is transient, request-scoped, or needs a request-scoped provider, so there is no single object to call. ` +
        'Move the method to a provider of the default scope.',
    );
  const works = declared.get(service) ?? new Map<string, { name: string; instance: object }>();
  declared.set(service, works);
  const other = works.get(key);
  // Each instance of the module explores all providers.
  if (other !== undefined && (other.instance !== instance || other.name !== name))
    throw new TypeError(
      other.name === name
        ? `@WhileLeader on ${name}: two objects of the application have this method, and the election '${key}' has one work. ` +
            'Provide the class in one module and export it, and one class of those that inherit the method.'
        : `@WhileLeader on ${name}: ${other.name} is the work of the election '${key}' already.`,
    );
  works.set(key, { name, instance });
  return (term) => (instance as Record<string | symbol, (term: Lock) => unknown>)[property]!(term);
}
