// What a program in ECMAScript allocates. The value is a function of how often.
(function (rounds) {
	var out = [];

	function index(text) {
		var where = {}, at = 0;
		text.split(' ').forEach(function (word) {
			(where[word] = where[word] || []).push(at);
			at += word.length + 1;
		});
		return Object.keys(where).sort().map(function (word) {
			return word + '=' + where[word].join(',');
		}).join(' ');
	}

	function tree(depth) {
		if (depth === 0)
			return { sum: function () { return 1; } };
		var left = tree(depth - 1), right = tree(depth - 1);
		return { left: left, right: right, sum: function () { return left.sum() + right.sum(); } };
	}

	function Point(x, y) {
		this.x = x;
		this.y = y;
	}
	Point.prototype.plus = function (other) {
		return new Point(this.x + other.x, this.y + other.y);
	};

	var text = 'the quick brown fox jumps over the lazy dog while the other dog sleeps';
	for (var round = 1; round <= rounds; round++) {
		out.push(index(text + ' ' + round));
		out.push('tree ' + tree(4).sum());
		var p = new Point(0, 0);
		for (var i = 1; i < 20; i++)
			p = p.plus(new Point(i, -i));
		out.push(JSON.stringify({ point: p, list: [1, 'two', null, { three: 3.5 }], round: round }));
		try {
			throw new TypeError('round ' + round);
		} catch (error) {
			out.push(error.name + ': ' + error.message);
		}
		out.push(text.toUpperCase().replace(/[A-Z]+/g, function (word) {
			return word.charAt(0) + word.length;
		}));
		var bytes = new Uint8Array(100 * (round % 5 + 1));
		for (var k = 0; k < bytes.length; k++)
			bytes[k] = k * round;
		out.push('bytes ' + Array.prototype.slice.call(bytes, -5).join('-'));
		out.push(JSON.parse(out[2]).list[3].three.toFixed(2));
	}
	return out.join('\n');
})
