package rtpengine

// kneeLevel is where limiting begins; below it sound passes unchanged.
const kneeLevel = 24576

// limit brings a sum of voices into 16 bits. Beyond the knee it rises ever more slowly towards full scale and never reaches it, so a
// loud moment sounds pressed and neither wraps nor cracks.
func limit(v int32) int16 {
	const room = 32767 - kneeLevel
	switch {
	case v > kneeLevel:
		over := v - kneeLevel
		return int16(kneeLevel + int32(int64(room)*int64(over)/int64(over+room)))
	case v < -kneeLevel:
		over := -kneeLevel - v
		return int16(-kneeLevel - int32(int64(room)*int64(over)/int64(over+room)))
	}
	return int16(v)
}
