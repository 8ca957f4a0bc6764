import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { DiscoveryService, MetadataScanner, ModuleRef } from '@nestjs/core';
import type { Lock } from '../lock/lock.js';
import { LockService } from '../lock/lock-service.js';
import { methodsWith } from './decorated-methods.js';
import { LEADER_METHOD, refuseHandler, type LeaderMethod } from './leader-method.js';
import { ModuleServices } from './module-services.js';

/** The long-lived work of each service, by the key of its election. */
const running = new WeakMap<LockService, Map<string, { readonly name: string; readonly instance: object }>>();

/** A decorated method of one provider, and the service that stands for its election. */
interface Found {
  readonly service: LockService;
  readonly method: LeaderMethod;
  /** Undefined for a request-scoped or transient provider. */
  readonly instance: object | undefined;
  readonly property: string;
}

/**
 * Stands for the elections of all decorated methods once the application has started, and calls
 * the methods with `@WhileLeader`.
 */
@Injectable()
export class LeaderExplorer implements OnApplicationBootstrap {
  private readonly services: ModuleServices;

  constructor(
    private readonly discovery: DiscoveryService,
    private readonly scanner: MetadataScanner,
    modules: ModuleRef,
  ) {
    this.services = new ModuleServices(modules);
  }

  onApplicationBootstrap(): void {
    const found = this.found();
    // The first call of `elect` sets the options of an election.
    const hasOptions = ({ method }: Found): boolean => method.options !== undefined;
    for (const first of found.filter(hasOptions)) this.begin(first);
    for (const later of found.filter((each) => !hasOptions(each))) this.begin(later);
  }

  private found(): Found[] {
    const found: Found[] = [];
    for (const wrapper of [...this.discovery.getProviders(), ...this.discovery.getControllers()]) {
      const instance = wrapper.isDependencyTreeStatic()
        ? (wrapper.instance as object | undefined)
        : undefined;
      const prototype = (wrapper.isNotMetatype ? instance : wrapper.metatype?.prototype) as unknown;
      for (const { property, handler, method } of methodsWith<LeaderMethod>(
        LEADER_METHOD,
        this.scanner,
        prototype,
      )) {
        refuseHandler(method, handler);
        const service = this.services.serviceOf(method.instanceName);
        // A test may have put a plain object in place of the service.
        if (service instanceof LockService) found.push({ service, method, instance, property });
      }
    }
    return found;
  }

  private begin({ service, method, instance, property }: Found): void {
    const { decorator, key, name, options } = method;
    if (decorator === '@LeaderOnly') {
      service.elect(key, options);
      return;
    }
    if (instance === undefined)
      throw new TypeError(
        `@WhileLeader on ${name}: the provider is request-scoped or transient. Use a singleton.`,
      );
    const works = running.get(service) ?? new Map<string, { name: string; instance: object }>();
    running.set(service, works);
    const other = works.get(key);
    // Each instance of the module explores all providers.
    if (other?.instance === instance && other.name === name) return;
    if (other !== undefined)
      throw new TypeError(
        `@WhileLeader on ${name}: ${other.name} is the work of the election '${key}' already.`,
      );
    works.set(key, { name, instance });
    const work = (term: Lock): unknown =>
      (instance as Record<string, (term: Lock) => unknown>)[property]!(term);
    // A failure that ends the election is reported to the log.
    service
      .elect(key, options)
      .run(work)
      .catch(() => {});
  }
}
