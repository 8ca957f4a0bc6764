import { Controller, Injectable, Param, Post } from '@nestjs/common';
import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { EventEmitter2, OnEvent } from '@nestjs/event-emitter';
import { Args, ID, Mutation, Query, Resolver } from '@nestjs/graphql';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { Interval } from '@nestjs/schedule';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { CurrentLock, type Lock, LockService, ReplicaLocked } from 'nestjs-replica-lock';

/** Records the lock that each kind of handler ran under. */
@Injectable()
export class Journal {
  readonly lines: string[] = [];

  write(who: string, lock: Lock | undefined): string {
    const line = `${who} under ${lock?.key}`;
    this.lines.push(line);
    return line;
  }
}

/** HTTP: the key from the request. */
@Controller('orders')
export class OrdersController {
  constructor(
    private readonly journal: Journal,
    private readonly events: EventEmitter2,
  ) {}

  @Post(':id/pay')
  @ReplicaLocked('order:{params.id}')
  async pay(@Param('id') id: string, @CurrentLock() lock: Lock): Promise<{ paid: string }> {
    const paid = this.journal.write('HTTP handler', lock);
    await this.events.emitAsync('order.paid', { id });
    return { paid };
  }

  /** A microservice's message, over the transport that main.ts connects. */
  @MessagePattern('pay')
  @ReplicaLocked('order:{data.id}')
  async payByMessage(@Payload() _order: { id: string }, @CurrentLock() lock: Lock): Promise<string> {
    return this.journal.write('message handler', lock);
  }
}

/** GraphQL: the key from the field's arguments. */
@Resolver()
export class OrdersResolver {
  constructor(private readonly journal: Journal) {}

  @Query(() => [String])
  journalLines(): string[] {
    return this.journal.lines;
  }

  @Mutation(() => String)
  @ReplicaLocked('order:{args.id}')
  async pay(@Args('id', { type: () => ID }) _id: string, @CurrentLock() lock: Lock): Promise<string> {
    return this.journal.write('resolver', lock);
  }
}

/** A gateway: the key from the message. */
@WebSocketGateway()
export class OrdersGateway {
  constructor(private readonly journal: Journal) {}

  @SubscribeMessage('pay')
  @ReplicaLocked('order:{data.id}', { waitTime: '1s' })
  async pay(
    @MessageBody() _order: { id: string },
    @CurrentLock() lock: Lock,
  ): Promise<{ event: string; data: string }> {
    return { event: 'paid', data: this.journal.write('gateway', lock) };
  }
}

/** Services, listeners, jobs: methods of a provider, the key from their arguments. */
@Injectable()
export class Shelves {
  constructor(
    private readonly journal: Journal,
    private readonly locks: LockService,
  ) {}

  @ReplicaLocked('shelf:{0}')
  async take(order: string): Promise<string> {
    return this.journal.write('service', this.locks.current(`shelf:${order}`));
  }

  @OnEvent('order.paid')
  @ReplicaLocked('invoice:{0.id}')
  async writeInvoice(_order: { id: string }): Promise<void> {
    this.journal.write('listener', this.locks.current());
  }

  /** One of many copies counts the shelves. A copy with a late clock finds the key busy. */
  @Interval(1_000)
  @ReplicaLocked('count-shelves', { waitTime: 0, onContended: 'skip', minHoldTime: 500 })
  async count(): Promise<void> {
    this.journal.write('job', this.locks.current());
  }
}

export class Ship {
  constructor(readonly order: string) {}
}

/** CQRS: a method of a provider, the key from its argument. */
@CommandHandler(Ship)
export class ShipHandler implements ICommandHandler<Ship> {
  constructor(private readonly shelves: Shelves) {}

  @ReplicaLocked('shipment:{0.order}')
  execute({ order }: Ship): Promise<string> {
    return this.shelves.take(order);
  }
}
