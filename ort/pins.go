package ort

// The versions that are fetched. Both speak C API 24, the one that onnxruntime_go asks for.
const (
	releaseVersion = "1.24.4"
	releaseBase    = "https://github.com/microsoft/onnxruntime/releases/download"
	npmVersion     = "1.24.3"
	npmPackage     = "onnxruntime-node"

	// npmIntegrity is the registry's "dist.integrity" of the package, base64 of its SHA-512.
	npmIntegrity = "JH7+czbc8ALA819vlTgcV+Q214/+VjGeBHDjX81+ZCD0PCVCIFGFNtT0V4sXG/1JXypKPgScQcB3ij/hk3YnTg=="
	npmBytes     = 85_987_774
)

// filePin is the library inside an archive. Bytes is 0 where no source states it.
type filePin struct {
	member string
	sha256 string
	bytes  int64
}

// releasePin is one archive of the project's GitHub releases.
type releasePin struct {
	asset  string
	sha256 string
	bytes  int64
	lib    filePin
}

// platformPins are the two sources of one platform.
type platformPins struct {
	release *releasePin // nil: none is published
	npm     *filePin
}

// pins returns the sources for a platform. The sums of the release archives and the libraries in them are those that
// several independent installers publish; the sums of the npm package's libraries were computed from the package whose
// SHA-512 is npmIntegrity.
func pins(goos, goarch string) platformPins {
	switch goos + "/" + goarch {
	case "linux/amd64":
		return platformPins{
			release: &releasePin{
				asset:  "onnxruntime-linux-x64-1.24.4.tgz",
				sha256: "3a211fbea252c1e66290658f1b735b772056149f28321e71c308942cdb54b747", bytes: 8_155_822,
				lib: filePin{"onnxruntime-linux-x64-1.24.4/lib/libonnxruntime.so.1.24.4",
					"d132535d051344ff5c64c9c200004150559049a81ed330eb4422c1962fb6b7e4", 22_159_232},
			},
			npm: &filePin{"package/bin/napi-v6/linux/x64/libonnxruntime.so.1",
				"92ba8e44d31b80a34f5e805076a044122c3be1fffe0d88ed790de7267b0b2682", 35_164_376},
		}
	case "linux/arm64":
		return platformPins{
			release: &releasePin{
				asset:  "onnxruntime-linux-aarch64-1.24.4.tgz",
				sha256: "866109a9248d057671a039b9d725be4bd86888e3754140e6701ec621be9d4d7e", bytes: 7_181_958,
				lib: filePin{"onnxruntime-linux-aarch64-1.24.4/lib/libonnxruntime.so.1.24.4",
					"52b2a0e75e79468404284fec38ad5ee1a7a996232274f5e1b84f3e793fb07554", 18_625_376},
			},
			npm: &filePin{"package/bin/napi-v6/linux/arm64/libonnxruntime.so.1",
				"33032cb5b91c12edbf028d7c69fa40a31848d66c0095448758af237d5e0b07db", 18_625_376},
		}
	case "darwin/arm64":
		return platformPins{
			release: &releasePin{
				asset:  "onnxruntime-osx-arm64-1.24.4.tgz",
				sha256: "93787795f47e1eee369182e43ed51b9e5da0878ab0346aecf4258979b8bba989", bytes: 30_937_282,
				lib: filePin{"onnxruntime-osx-arm64-1.24.4/lib/libonnxruntime.1.24.4.dylib",
					"872533f130f1839a5bc01788ddb4f75c83a189763441ba1178788ed965449289", 35_418_600},
			},
			npm: &filePin{"package/bin/napi-v6/darwin/arm64/libonnxruntime.1.24.3.dylib",
				"76831409ce6eded92b4cb343cf422c458a60c1ea1d5f3cfa69692ab7fcc67f0f", 35_937_208},
		}
	case "windows/amd64":
		return platformPins{
			release: &releasePin{
				asset:  "onnxruntime-win-x64-1.24.4.zip",
				sha256: "d2319fddfb6ea4db99ccc4b60c85c517bcd855721f5daa6a06d40d7cb2ee2357", bytes: 74_442_783,
				lib: filePin{"onnxruntime-win-x64-1.24.4/lib/onnxruntime.dll",
					"b95efb2113b603bbbf3f191061c5516a871ed546893c820e4f3b7b6c358dbf2a", 0},
			},
			npm: &filePin{"package/bin/napi-v6/win32/x64/onnxruntime.dll",
				"4bc168111012971ae1ffef36c1f29c06b026d17e9063bd17f6390359fbe32a84", 23_850_016},
		}
	case "windows/arm64":
		return platformPins{
			release: &releasePin{
				asset:  "onnxruntime-win-arm64-1.24.4.zip",
				sha256: "47dc80aa39da792271af10be5993919536a4dab0965ec1e6043ef37f1df7a693", bytes: 75_182_070,
				lib: filePin{"onnxruntime-win-arm64-1.24.4/lib/onnxruntime.dll",
					"724d81ac50b11bfaa01ab3ce01b99fb6734a4b762259a8be4395ca662ce99fe6", 0},
			},
			npm: &filePin{"package/bin/napi-v6/win32/arm64/onnxruntime.dll",
				"65dd5f706f8dd42ce96f6358ef3180c3c30f390022de00b75ada6f498ba4cce1", 24_420_896},
		}
	}
	return platformPins{}
}
