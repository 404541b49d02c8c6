/** What a system told, and where; or why it is not known. */
export type Fact<T> =
  | { readonly known: true; readonly value: T; readonly source: string }
  | { readonly known: false; readonly value: undefined; readonly reason: string };

export function told<T>(value: T, source: string): Fact<T> {
  return { known: true, value, source };
}

export function unknown(reason: string): Fact<never> {
  return { known: false, value: undefined, reason };
}
