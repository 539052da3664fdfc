package reference
import ("testing";"math")
func BenchmarkZ(b *testing.B){
 r:=seeded(1)
 const T,D=512,16
 q,k,v,w:=random(r,1,1,T,D),random(r,1,1,T,D),random(r,1,1,T,D),random(r,1,T,T)
 b.Run("full",func(b *testing.B){ for b.Loop(){AFTFull(q,k,v,w,Options{})}; b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/T/T/D,"ns/tsd") })
 b.Run("exp",func(b *testing.B){ s:=0.0; for b.Loop(){ for _,x:=range w.Data {s+=math.Exp(x)} }; b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/T/T,"ns/exp") })
 kk,vv,ww:=column(k,0,0),column(v,0,0),w.Data[:T]; p:=make([]float64,T)
 b.Run("weigh",func(b *testing.B){ for b.Loop(){ weigh(p,kk,ww) }; b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/T,"ns") })
 b.Run("mean",func(b *testing.B){ for b.Loop(){ mean(p,vv,1) }; b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/T,"ns") })
}
