/** Makes a change to the maps and returns the one that takes it back. */
export type Apply<Maps, Change> = (maps: Maps, change: Change) => Change;

/**
 * A persistent value over plain maps: writing makes a new version, and every older one stays true for ever.
 *
 * All versions share one set of maps (H. Baker, "Shallow binding makes functional arrays fast", 1991). The version that
 * was used last has them; each other one holds the changes that lead from its neighbour to itself. So the newest costs
 * what plain maps cost, keeping a version per block costs what changed in it, and going back costs what changed since.
 */
export class Version<Maps extends object, Change> {
  readonly #apply: Apply<Maps, Change>;
  #place: { readonly maps: Maps } | { readonly from: Version<Maps, Change>; readonly changes: readonly Change[] };

  constructor(maps: Maps, apply: Apply<Maps, Change>) {
    this.#apply = apply;
    this.#place = { maps };
  }

  /** The maps as this version has them; read from them at once, for asking another version changes them. */
  get maps(): Maps {
    if ("maps" in this.#place) return this.#place.maps;
    const away: Version<Maps, Change>[] = [];
    let holder: Version<Maps, Change> = this;
    for (; "from" in holder.#place; holder = holder.#place.from) away.push(holder);
    for (const next of away.reverse()) {
      next.#takeOver(holder);
      holder = next;
    }
    return this.maps;
  }

  /** The version that `write` makes of this one; this very one where it changes nothing, or throws. */
  written(write: (maps: Maps, make: (change: Change) => void) => void): Version<Maps, Change> {
    const maps = this.maps;
    const undo: Change[] = [];
    try {
      write(maps, (change) => undo.push(this.#apply(maps, change)));
    } catch (error) {
      for (const change of undo.reverse()) this.#apply(maps, change);
      throw error;
    }
    if (undo.length === 0) return this;
    const next = new Version(maps, this.#apply);
    this.#place = { from: next, changes: undo.reverse() };
    return next;
  }

  /** Every change between this version and an other one; undefined where one was not made from the other. */
  changesTo(other: Version<Maps, Change>): Change[] | undefined {
    const maps = other.maps;
    const changes: Change[] = [];
    let version: Version<Maps, Change> = this;
    for (; "from" in version.#place; version = version.#place.from) {
      for (const change of version.#place.changes) changes.push(change);
    }
    return version.#place.maps === maps ? changes : undefined;
  }

  #takeOver(holder: Version<Maps, Change>): void {
    if ("maps" in this.#place || !("maps" in holder.#place)) return;
    const { maps } = holder.#place;
    const back = this.#place.changes.map((change) => this.#apply(maps, change));
    holder.#place = { from: this, changes: back.reverse() };
    this.#place = { maps };
  }
}
