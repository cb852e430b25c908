/**
 * docs/reference/errors.md has the same closed table as src/errors.ts, and says where a caller can
 * rely on it.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { status as grpcStatus } from '@grpc/grpc-js';
import { ERROR_DOMAIN } from '#vitserve/contract/contract.js';
import { describeReason, REASONS, type Reason } from '#vitserve/errors.js';
import { read, tableOf } from './repository.js';

const DOCUMENT = 'docs/reference/errors.md';
const REASON_NAMES = Object.keys(REASONS) as Reason[];

describe('the error table', () => {
  const rows = tableOf(DOCUMENT, 'Reason');

  test('has every reason once, in the order of the code, and no other', () => {
    assert.deepEqual(
      rows.map(({ Reason }) => Reason),
      REASON_NAMES,
    );
  });

  test('says of each what the code says', () => {
    for (const row of rows) {
      const { status, field, retryable } = describeReason(row.Reason as Reason);
      const documented = { status: row.Status, field: row.Field, retryable: row.Retryable };
      assert.deepEqual(
        documented,
        { status, field: field ?? '–', retryable: retryable ? 'yes' : 'no' },
        row.Reason as string,
      );
      for (const column of ['When', 'What to do'])
        assert.match(row[column] ?? '', /^[A-Z].*\.$/, row.Reason as string);
    }
  });

  test('has only names that callers can branch on, and only statuses that gRPC has', () => {
    for (const reason of REASON_NAMES) {
      assert.match(reason, /^[A-Z]+(_[A-Z]+)*$/);
      assert.ok(grpcStatus[describeReason(reason).status] !== undefined, reason);
    }
  });

  test('names the domain that every ErrorInfo carries', () => {
    assert.ok(read(DOCUMENT).includes(`\`${ERROR_DOMAIN}\``));
  });
});
