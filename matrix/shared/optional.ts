// Used if the optional peers are installed: the sub-paths must compile and load.
import { Module } from '@nestjs/common';
import { TerminusModule } from '@nestjs/terminus';
import { ReplicaLockHealthIndicator } from 'nestjs-replica-lock/health';
import { ReplicaLockTelemetryModule } from 'nestjs-replica-lock/telemetry';

@Module({ imports: [TerminusModule, ReplicaLockTelemetryModule], providers: [ReplicaLockHealthIndicator] })
export class OptionalModule {}
