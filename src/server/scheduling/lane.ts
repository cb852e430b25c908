/**
 * What the dispatcher needs to know of a process that executes batches. `workers/process/lane.ts`
 * is shaped like it; the rooms meet in `pipeline/`.
 */
export interface BatchLane<Call, Reply> {
  /** Whether it takes calls now. */
  readonly ready: boolean;
  /** Batches sent and not answered. */
  readonly inFlight: number;
  /** Rejects when the process is lost. */
  call(call: Call): Promise<Reply>;
  /** Set by the dispatcher; called whenever one of the above has changed. */
  onChange: () => void;
}
