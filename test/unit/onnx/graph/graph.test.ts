/** Reads graphs and finds inconsistencies in them. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  type AttributeValue,
  float,
  floats,
  graphOf,
  int,
  ints,
  modelOf,
  nodeOf,
  tensor,
  text,
  valueInfoOf,
} from '#vitserve/onnx/graph/build.js';
import { checkGraph } from '#vitserve/onnx/graph/check.js';
import {
  describeGraph,
  floatAttribute,
  indexGraph,
  intAttribute,
  intsAttribute,
  nodeLabel,
  opsetVersion,
  tensorAttribute,
  textAttribute,
  uniqueNames,
} from '#vitserve/onnx/graph/graph.js';
import {
  AttributeType,
  DataType,
  type GraphProto,
  type ModelProto,
} from '#vitserve/onnx/proto/model-proto.js';
import { float32Tensor, floatsOf, int64Tensor, intsOf } from '#vitserve/onnx/proto/tensors.js';
import { PLAIN, tinyVit } from '../../../support/tiny-vit.js';

function subgraph(g: GraphProto): AttributeValue {
  return { docString: '', type: AttributeType.GRAPH, g, floats: [], ints: [], strings: [] };
}

/** x → Relu → a; inside If, a is used again; w reaches Add through two Identities. */
function sample(): ModelProto {
  const inner = graphOf('then', {
    node: [nodeOf('Neg', ['a'], ['inner'])],
    output: [valueInfoOf('inner', 1, [2])],
  });
  return modelOf(
    graphOf('g', {
      input: [
        valueInfoOf('x', DataType.FLOAT, ['batch', 2, null]),
        valueInfoOf('w', DataType.FLOAT, [2]),
      ],
      initializer: [float32Tensor('w', [2], [1, 2]), int64Tensor('yes', [], [1])],
      node: [
        nodeOf('Relu', ['x'], ['a']),
        nodeOf('Identity', ['w'], ['w1']),
        nodeOf('Identity', ['w1'], ['w2']),
        nodeOf('Add', ['a', 'w2'], ['sum']),
        nodeOf('If', ['yes'], ['chosen'], {
          attributes: { then_branch: subgraph(inner), else_branch: subgraph(inner) },
        }),
        nodeOf('Mul', ['sum', 'chosen'], ['y']),
      ],
      output: [valueInfoOf('y', DataType.FLOAT, ['batch', 2])],
    }),
    { opsets: { 'ai.onnx': 17, 'com.microsoft': 1 } },
  );
}

describe('an index', () => {
  const { graph } = sample();
  const index = indexGraph(graph);

  test('knows the producer and consumers of a value, also inside nested graphs', () => {
    assert.equal(index.producerOf('a'), graph.node[0]);
    assert.equal(index.producerOf('x'), undefined);
    assert.deepEqual(
      index.consumersOf('a').map(({ opType }) => opType),
      ['Add', 'If'],
    );
    assert.deepEqual(index.consumersOf('y'), []);
    assert.equal(index.isOutput('y'), true);
    assert.equal(index.isOutput('a'), false);
  });

  test('finds constants through Identity nodes and in Constant nodes of every form', () => {
    assert.deepEqual([...floatsOf(index.constantOf('w2') ?? int64Tensor('none', [], [0]))], [1, 2]);
    assert.equal(index.constantOf('sum'), undefined);
    assert.equal(index.initializerOf('w2'), undefined);
    const forms: [string, AttributeValue][] = [
      ['value', tensor(int64Tensor('t', [1], [7]))],
      ['value_int', int(7)],
      ['value_ints', ints([7])],
    ];
    for (const [name, value] of forms) {
      const node = nodeOf('Constant', [], ['c'], { attributes: { [name]: value } });
      assert.deepEqual(
        intsOf(
          indexGraph(graphOf('g', { node: [node] })).constantOf('c') ?? float32Tensor('', [], [0]),
        ),
        [7],
      );
    }
    const node = nodeOf('Constant', [], ['c'], { attributes: { value_floats: floats([0.5]) } });
    assert.deepEqual(
      [
        ...floatsOf(
          indexGraph(graphOf('g', { node: [node] })).constantOf('c') ?? int64Tensor('', [], [0]),
        ),
      ],
      [0.5],
    );
  });

  test('does not hang in a cycle of Identity nodes', () => {
    const ring = graphOf('g', {
      node: [nodeOf('Identity', ['a'], ['b']), nodeOf('Identity', ['b'], ['a'])],
    });
    assert.equal(indexGraph(ring).constantOf('a'), undefined);
  });
});

test('attributes are read by type, with a default; another type is rejected by name', () => {
  const attributes = {
    i: int(3),
    f: float(0.5),
    n: ints([1, 2]),
    s: text('SAME_UPPER'),
    t: tensor(int64Tensor('t', [], [1])),
  };
  const node = nodeOf('Conv', [], ['y'], { name: 'patch', attributes });
  assert.deepEqual([intAttribute(node, 'i', 0), intAttribute(node, 'none', 9)], [3, 9]);
  assert.deepEqual([floatAttribute(node, 'f', 0), floatAttribute(node, 'none', 9)], [0.5, 9]);
  assert.deepEqual([intsAttribute(node, 'n'), intsAttribute(node, 'none')], [[1, 2], undefined]);
  assert.deepEqual(
    [textAttribute(node, 's', ''), textAttribute(node, 'none', 'NOTSET')],
    ['SAME_UPPER', 'NOTSET'],
  );
  assert.equal(tensorAttribute(node, 't')?.name, 't');
  assert.throws(
    () => intAttribute(node, 'f', 0),
    /^SetupError: node Conv "patch": attribute f has type 1, not 2 \(INT\)$/,
  );
  assert.equal(nodeLabel(nodeOf('Add', [], ['sum'], { name: '' })), 'Add "sum"');
});

test('operator sets have both names of the standard one', () => {
  assert.deepEqual(
    ['', 'ai.onnx', 'com.microsoft', 'other'].map((domain) => opsetVersion(sample(), domain)),
    [17, 17, 1, undefined],
  );
});

test('free names are free inside nested graphs too', () => {
  const name = uniqueNames(sample().graph);
  assert.deepEqual(['inner', 'free', 'free', 'x'].map(name), ['inner_1', 'free', 'free_1', 'x_1']);
});

test('inputs leave out initializers; outputs are listed', () => {
  assert.deepEqual(describeGraph(sample()), {
    inputs: [{ name: 'x', dataType: 1, typeName: 'float32', dims: ['batch', 2, null] }],
    outputs: [{ name: 'y', dataType: 1, typeName: 'float32', dims: ['batch', 2] }],
  });
  const untyped = modelOf(graphOf('g', { output: [{ name: 'y', docString: '' }] }), { opsets: {} });
  assert.deepEqual(describeGraph(untyped).outputs, [
    { name: 'y', dataType: 0, typeName: 'type 0', dims: null },
  ]);
});

describe('checking', () => {
  test('finds nothing in sound graphs', () => {
    assert.deepEqual(checkGraph(sample()), []);
    assert.deepEqual(checkGraph(tinyVit(PLAIN)), []);
  });

  const PROBLEMS: readonly [what: string, breakIt: (model: ModelProto) => void, problem: string][] =
    [
      [
        'a value made twice',
        ({ graph }) => graph.node.push(nodeOf('Neg', ['x'], ['a'], { name: 'again' })),
        'value "a" is made twice: by node Relu "a" and by node Neg "again"',
      ],
      [
        'an input that no node makes',
        ({ graph }) => graph.node.push(nodeOf('Neg', ['ghost'], ['z'])),
        'node Neg "z": input "ghost" is made by no node',
      ],
      [
        'an order that can not be',
        ({ graph }) => graph.node.reverse(),
        'node Mul "y": input "sum" is made only after it',
      ],
      [
        'an output that no node makes',
        ({ graph }) => graph.output.push(valueInfoOf('ghost', 1, [])),
        'graph output "ghost" is made by no node',
      ],
      [
        'a constant of another size',
        ({ graph }) => graph.initializer.push({ ...float32Tensor('odd', [1], [1]), dims: [2] }),
        'initializer tensor "odd" has 4 bytes, and float32 [2] takes 8',
      ],
      [
        'a constant of another size in a node',
        ({ graph }) =>
          graph.node.push(
            nodeOf('Constant', [], ['c'], {
              attributes: { value: tensor({ ...float32Tensor('odd', [1], [1]), dims: [2] }) },
            }),
          ),
        'node Constant "c", attribute value: tensor "odd" has 4 bytes, and float32 [2] takes 8',
      ],
      [
        'an operator set that is not imported',
        ({ graph }) => graph.node.push(nodeOf('Magic', ['x'], ['z'], { domain: 'org.example' })),
        'node Magic "z": the model does not import the operator set "org.example"',
      ],
      [
        'two nodes of one name',
        ({ graph }) => graph.node.push(nodeOf('Neg', ['x'], ['z'], { name: 'a' })),
        'two nodes have the name "a"',
      ],
      [
        'a node without operator',
        ({ graph }) => graph.node.push(nodeOf('', ['x'], ['z'])),
        'node "z" has no operator',
      ],
      [
        'a node without outputs',
        ({ graph }) => graph.node.push(nodeOf('Neg', ['x'], [], { name: 'mute' })),
        'node Neg "mute" has no outputs',
      ],
      [
        'an old version',
        (model) => {
          model.irVersion = 2;
        },
        'the model has IR version 2, but the oldest supported version is 3',
      ],
      [
        'no operator set',
        (model) => {
          model.opsetImport = [];
        },
        'the model imports no operator set',
      ],
    ];
  for (const [what, breakIt, problem] of PROBLEMS) {
    test(`finds ${what}`, () => {
      const model = sample();
      breakIt(model);
      assert.ok(checkGraph(model).includes(problem), checkGraph(model).join('\n'));
    });
  }

  test('checks nested graphs, which see values of the outer one', () => {
    const model = sample();
    const inner = model.graph.node[4]?.attribute[0]?.g;
    inner?.node.push(nodeOf('Neg', ['ghost'], ['z']));
    assert.deepEqual(checkGraph(model)[0], 'node Neg "z": input "ghost" is made by no node');
  });
});
