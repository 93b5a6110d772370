/** What a browser keeps for these pages. Where it keeps nothing for a site, or is full, they do without. */
class Kept {
  constructor(private readonly storage: () => Storage) {}

  get(key: string): string | null {
    try {
      return this.storage().getItem(key);
    } catch {
      return null;
    }
  }

  /** `null` takes it away. */
  set(key: string, value: string | null) {
    try {
      if (value === null) this.storage().removeItem(key);
      else this.storage().setItem(key, value);
    } catch {
      // It is known until the page is left.
    }
  }
}

export const keptHere = new Kept(() => localStorage);
export const keptInTab = new Kept(() => sessionStorage);
