/** Under which a handler's function says how it is locked. */
export const LOCKED_METHOD = 'nestjs-replica-lock:locked-method';
