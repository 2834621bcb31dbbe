/** What an agent is doing when it dies: each phase begins from the same state, and is led through to its end. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Inspection } from "./crash-inspection.ts";
import { intrude } from "./crash-load.ts";
import { CONFIG, type CrashNode, STATE } from "./crash-node.ts";
import { GATE } from "./crash-strace.ts";
import type { Chance } from "./story-seeds.ts";

export interface Site {
  readonly node: CrashNode;
  readonly inspection: Inspection;
  readonly chance: Chance;
}

export interface Phase {
  readonly name: string;
  /** On a node that nobody uses: its interface goes. */
  readonly isBare: boolean;
  /** Brings the node there; its agent waits at the gate, or is idle. */
  begin(site: Site): Promise<void>;
  /** Throws when the agent dies of it. */
  lead(site: Site): Promise<void>;
}

const started: Phase["lead"] = async ({ node }) => {
  node.open();
  await node.settled();
};

const idle: Phase["begin"] = async ({ node }) => {
  if (node.isRunning) return;
  node.start(GATE.environment);
  await node.settled();
};

export const PHASES: readonly Phase[] = [
  {
    name: "first-start",
    isBare: true,
    async begin({ node, inspection }) {
      await node.kill();
      await node.loseInterface();
      await node.host.run(["rm", "-rf", STATE, CONFIG]);
      inspection.forget();
      node.start(GATE.environment, true);
    },
    lead: started,
  },
  {
    name: "new-interface",
    isBare: true,
    async begin({ node, inspection }) {
      await node.kill();
      await node.loseInterface();
      inspection.forgetPeers();
      node.start(GATE.environment, true);
    },
    lead: started,
  },
  {
    name: "restart",
    isBare: false,
    async begin({ node, chance }) {
      await node.kill();
      await node.world.cut(chance);
      await node.world.grant(chance);
      node.start(GATE.environment, true);
    },
    lead: started,
  },
  {
    name: "grants",
    isBare: false,
    begin: idle,
    async lead({ node, chance }) {
      for (let i = 0; i < 3; i++) await node.world.grant(chance);
      // So many that it asks what is final, and writes that down.
      await node.world.chain.mine(16);
      await node.hasApplied();
      await sleep(3 * SAVING_MS);
    },
  },
  {
    name: "revokes",
    isBare: false,
    begin: idle,
    async lead({ node, chance }) {
      for (let i = 0; i < 3; i++) await node.world.cut(chance);
      await node.hasApplied();
      await sleep(SAVING_MS);
    },
  },
  {
    name: "full-pass",
    isBare: false,
    begin: idle,
    async lead({ node, chance }) {
      await node.world.cut(chance);
      await node.hasApplied();
      await intrude(node);
      await node.post("/resync");
      await node.hasApplied();
      await node.settled();
      await sleep(SAVING_MS);
    },
  },
  {
    name: "shutdown",
    isBare: false,
    begin: idle,
    async lead({ node, chance }) {
      await node.world.grant(chance);
      await node.agent.end("SIGTERM");
    },
  },
];

/** The last thing of a pass is to save; a pass too little only makes a point rarer. */
const SAVING_MS = 100;
