// As much of React and Vue as the hooks use, so that the library is checked without either. `make sdks` checks them
// against the packages themselves.

declare module 'react' {
  export function useEffect(effect: () => void | (() => void), dependencies: readonly unknown[]): void;
  export function useRef<T>(value: T): { current: T };
  export function useState<T>(initial: () => T): [T, (value: T) => void];
  export function useSyncExternalStore<T>(
    subscribe: (listener: () => void) => () => void,
    snapshot: () => T,
    serverSnapshot: () => T,
  ): T;
}

declare module 'vue' {
  export type MaybeRefOrGetter<T> = T | { readonly value: T } | (() => T);
  export function computed<T>(get: () => T): { readonly value: T };
  export function getCurrentScope(): object | undefined;
  export function onScopeDispose(callback: () => void): void;
  export function shallowRef<T>(value: T): { value: T };
  export function toValue<T>(source: MaybeRefOrGetter<T>): T;
  export function watch<T>(source: () => T, callback: (value: T) => void, options: { immediate: boolean }): void;
}
