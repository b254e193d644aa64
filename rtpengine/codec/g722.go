package codec

// G.722 at 64 kbit/s (ITU-T G.722 mode 1): the band is split in two by a quadrature mirror filter, the lower half is coded by
// adaptive differences of six bits, the upper half of two. Two samples at 16 kHz make one octet:
//
//	| high 2 | low 6 |
//
// The arithmetic is the recommendation's, in 16-bit integers, so that every decoder of the world hears the same. Blocks are named as
// its figures name them.

// qmf are the coefficients of the mirror filter, of which the second half repeats the first backwards (Table 11/G.722).
var qmf = [12]int32{3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11}

var (
	// q6 are the decision levels of the lower band, iln and ilp the codes for negative and positive differences (Table 14/G.722).
	q6 = [30]int32{
		0, 35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650,
		714, 786, 858, 940, 1023, 1121, 1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
	}
	iln = [31]byte{0, 63, 62, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4}
	ilp = [31]byte{0, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41, 40, 39, 38, 37, 36, 35, 34, 33, 32}

	// qm6 and qm4 are what a code of six bits, or its upper four, stands for; qm2 is that of the upper band.
	qm6 = [64]int32{
		-136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360, -8576, -7856,
		-7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688, -1360, -1040, -728,
		24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456,
		4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
	}
	qm4 = [16]int32{0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0}
	qm2 = [4]int32{-7408, -1616, 7408, 1616}

	// wl and wh say how the logarithmic scale moves by a code, ilb how it becomes a linear one (Tables 15, 16, 17/G.722).
	wl  = [16]int32{-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60}
	wh  = [4]int32{798, -214, 798, -214}
	ilb = [32]int32{
		2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
		2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
	}
)

// subBand is the adaptive predictor and quantiser of one half.
type subBand struct {
	s, sz int32 // what is predicted, and the zeros' part of it
	r     [2]int32
	p     [2]int32
	a     [2]int32
	d     [6]int32
	b     [6]int32
	nb    int32 // logarithmic scale
	det   int32 // linear scale
}

func clip16(v int32) int32 { return max(-32768, min(32767, v)) }

// scale moves the quantiser's step (LOGSCL, SCALEL and their upper twins). shift is 8 below, 10 above.
func (b *subBand) scale(w, most, shift int32) {
	b.nb = max(0, min(most, b.nb*127>>7+w))
	v := ilb[b.nb>>6&31]
	if n := shift - b.nb>>11; n < 0 {
		v <<= -n
	} else {
		v >>= n
	}
	b.det = v << 2
}

// adapt is block 4: it takes the quantised difference and predicts the next sample.
func (b *subBand) adapt(d int32) {
	r, p := clip16(b.s+d), clip16(b.sz+d) // RECONS, PARREC

	// UPPOL2
	w := clip16(b.a[0] << 2)
	if (p^b.p[0])>>31 == 0 {
		w = -w
	}
	w = min(w, 32767) >> 7
	if (p^b.p[1])>>31 == 0 {
		w += 128
	} else {
		w -= 128
	}
	a2 := max(-12288, min(12288, w+b.a[1]*32512>>15))

	// UPPOL1
	w = -192
	if (p^b.p[0])>>31 == 0 {
		w = 192
	}
	limit := clip16(15360 - a2)
	a1 := max(-limit, min(limit, clip16(w+b.a[0]*32640>>15)))

	// UPZERO and FILTEZ: the weights move by their differences' signs, and predict from the differences, the newest first.
	step := int32(128)
	if d == 0 {
		step = 0
	}
	next := [6]int32{d, b.d[0], b.d[1], b.d[2], b.d[3], b.d[4]}
	sz := int32(0)
	for i, old := range b.d {
		sign := (old ^ d) >> 31 // 0 when equal, -1 when not
		weight := clip16((step ^ sign - sign) + b.b[i]*32640>>15)
		b.b[i] = weight
		sz += weight * clip16(next[i]<<1) >> 15
	}
	b.d = next
	b.sz = clip16(sz)

	// DELAYA, FILTEP, PREDIC
	b.r, b.p, b.a = [2]int32{r, b.r[0]}, [2]int32{p, b.p[0]}, [2]int32{a1, a2}
	sp := a1*clip16(r<<1)>>15 + a2*clip16(b.r[1]<<1)>>15
	b.s = clip16(clip16(sp) + b.sz)
}

// mirror is the delay line of the filter, written twice so that it can be read without a seam.
type mirror struct {
	x  [48]int32
	at int
}

// push takes two samples and gives the last 24, the oldest first.
func (m *mirror) push(a, b int32) *[24]int32 {
	m.x[m.at], m.x[m.at+1] = a, b
	m.x[m.at+24], m.x[m.at+25] = a, b
	m.at += 2
	window := (*[24]int32)(m.x[m.at:])
	if m.at == 24 {
		m.at = 0
	}
	return window
}

func (m *mirror) sums(x *[24]int32) (odd, even int32) {
	for i, c := range qmf {
		odd += x[2*i] * c
		even += x[2*i+1] * qmf[11-i]
	}
	return odd, even
}

type g722Encoder struct {
	low, high subBand
	filter    mirror
}

func newG722Encoder() *g722Encoder { return &g722Encoder{low: subBand{det: 32}, high: subBand{det: 8}} }

func (e *g722Encoder) Rate() int { return 16000 }

func (e *g722Encoder) Encode(dst []byte, pcm []int16) (int, error) {
	if len(pcm)%2 != 0 {
		return 0, ErrFrame
	}
	if len(dst) < len(pcm)/2 {
		return 0, ErrShort
	}
	for i := 0; i < len(pcm); i += 2 {
		odd, even := e.filter.sums(e.filter.push(int32(pcm[i]), int32(pcm[i+1])))
		dst[i/2] = e.lower((even+odd)>>14) | e.upper((even-odd)>>14)<<6
	}
	return len(pcm) / 2, nil
}

// lower codes a sample of the lower band (blocks 1L to 4L).
func (e *g722Encoder) lower(x int32) byte {
	b := &e.low
	el := clip16(x - b.s)
	size, codes := el, &ilp
	if el < 0 {
		size, codes = -(el + 1), &iln
	}
	// QUANTL: the levels grow, so the first one above is found by halves.
	lo, hi := 1, 30
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if size < q6[mid]*b.det>>12 {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	code := codes[lo]
	d := b.det * qm4[code>>2] >> 15
	b.scale(wl[code>>2], 18432, 8)
	b.adapt(d)
	return code
}

// upper codes a sample of the upper band (blocks 1H to 4H).
func (e *g722Encoder) upper(x int32) byte {
	b := &e.high
	eh := clip16(x - b.s)
	size, codes := eh, [2]byte{3, 2}
	if eh < 0 {
		size, codes = -(eh + 1), [2]byte{1, 0}
	}
	code := codes[0]
	if size >= 564*b.det>>12 {
		code = codes[1]
	}
	d := b.det * qm2[code] >> 15
	b.scale(wh[code], 22528, 10)
	b.adapt(d)
	return code
}

type g722Decoder struct {
	concealer
	low, high subBand
	filter    mirror
}

func newG722Decoder() *g722Decoder {
	return &g722Decoder{concealer: newConcealer(16000), low: subBand{det: 32}, high: subBand{det: 8}}
}

func (g *g722Decoder) Samples(payload []byte) int { return 2 * len(payload) }

func (g *g722Decoder) Decode(dst []int16, payload []byte) (int, error) {
	n := 2 * len(payload)
	if len(dst) < n {
		return 0, ErrShort
	}
	for i, code := range payload {
		low, high := g.lower(code&63), g.upper(code>>6)
		odd, even := g.filter.sums(g.filter.push(low+high, low-high))
		dst[2*i], dst[2*i+1] = int16(clip16(even>>11)), int16(clip16(odd>>11))
	}
	g.heard(dst[:n])
	return n, nil
}

func (g *g722Decoder) lower(code byte) int32 {
	b := &g.low
	out := max(-16384, min(16383, b.s+b.det*qm6[code]>>15))
	d := b.det * qm4[code>>2] >> 15
	b.scale(wl[code>>2], 18432, 8)
	b.adapt(d)
	return out
}

func (g *g722Decoder) upper(code byte) int32 {
	b := &g.high
	d := b.det * qm2[code] >> 15
	out := max(-16384, min(16383, b.s+d))
	b.scale(wh[code], 22528, 10)
	b.adapt(d)
	return out
}
