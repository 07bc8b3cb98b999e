-- starter-clip was trained on, so what it saw of a picture before lies in another space than what it
-- sees now. Whoever looks at pictures in the background looks again.
DELETE FROM dream_vector WHERE perceptor = 'starter-clip';
