/*
 * Narrow types of two packages that only the snippets of the documentation import. Both are too
 * much to install for that: TypeORM asks for another ioredis, and the client of Prisma is generated
 * from a schema. The signatures are those of TypeORM 1.1 and Prisma 7.
 */

declare module 'typeorm' {
  interface ColumnOptions {
    default?: unknown;
  }
  interface FindOperator<T> {
    readonly value: T;
    readonly child: FindOperator<T> | undefined;
  }
  type FindOptionsWhere<Entity> = {
    [P in keyof Entity]?: Entity[P] | FindOperator<Entity[P]>;
  };
  interface UpdateResult {
    raw: unknown;
    /** The drivers of some databases leave this out. */
    affected?: number;
  }
  interface Repository<Entity> {
    update(criteria: FindOptionsWhere<Entity>, partialEntity: Partial<Entity>): Promise<UpdateResult>;
    existsBy(where: FindOptionsWhere<Entity>): Promise<boolean>;
  }

  export class DataSource {
    getRepository<Entity>(target: new () => Entity): Repository<Entity>;
  }
  export function Entity(): ClassDecorator;
  export function PrimaryColumn(type: 'text'): PropertyDecorator;
  export function Column(type: 'text' | 'bigint', options?: ColumnOptions): PropertyDecorator;
  export function LessThanOrEqual<T>(value: T | FindOperator<T>): FindOperator<T>;
}

declare module '@prisma/client' {
  /** As generated for `model Document { id String @id }`. */
  interface DocumentDelegate {
    count(args: { where: { id: string } }): Promise<number>;
  }

  export class PrismaClient {
    readonly document: DocumentDelegate;
    $executeRaw(query: TemplateStringsArray, ...values: unknown[]): Promise<number>;
  }
}
